//! Flows from the datapath, as they come.

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chainkit_abi::{Event, ObserverFilter, SLOTS, filter_bit, hook, side};
use chainkit_bpf::{
    Datapath, Direction, Key, Losses, NodeLock, Observer, ObserverSettings, Record as Taken, Stream, health::Followed,
    hidden, monotonic,
};
use chainkit_cli::{Exit, Failure};
use chainkit_cluster::{ENDPOINTS_FOLDER, Names, read_endpoints};
use chainkit_flow::{Connection, ConnectionKey, Decoder, Record, Resolver, WallClock};
use chainkit_node::{Interface, addresses, interfaces};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::attach::{Source, failure};
use crate::cli::Options;
use crate::drops::KernelDrops;
use crate::layer7::{self, Decoders};
use crate::names;
use crate::rules::Rules;
use crate::sink::Sink;

/// Events taken at once, before anything else is looked at.
const DRAIN: usize = 32 * 1024;
/// The same with payload: the kernel is to hear soon of what need not be copied.
const DRAIN_PAYLOAD: usize = 1024;
/// How long to wait for more when nothing has come: what a flow is late by at most.
const PAUSE: Duration = Duration::from_millis(10);
/// The same with payload, of which the kernel copies a first part only until it is told that it is worth more.
const PAUSE_PAYLOAD: Duration = Duration::from_millis(1);
/// How often losses are asked for.
const LOSSES_EVERY: Duration = Duration::from_millis(200);
/// How often interfaces and names are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often expired connections are swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether others run before our programs.
const HIDDEN_EVERY: Duration = Duration::from_secs(5);

/// IP protocol number.
const TCP: u8 = 6;

/// How many TCP connections are followed at a time: 24 MiB of the kernel's memory.
const FOLLOWED: u32 = 1 << 16;

/// Shows flows until it is told to end.
pub(crate) fn run(options: &Options, sink: &mut Sink) -> anyhow::Result<Exit> {
    let root = &options.root.root;
    if !root.is_dir() {
        return Err(Failure::usage(format!("--root {}: there is no such folder", root.display())).into());
    }
    let told_to_end = signals(sink.has_screen())?;
    let mut known = Known::read(options, &told_to_end)?;
    let mut source = Source::open(options, &known.names)?;
    let mut decoder = Decoder::new(&node_name(options), wall_clock(), known.resolver());
    let outcome = watch(options, sink, &told_to_end, &mut known, &mut source, &mut decoder);
    // Whatever happened, what hangs on interfaces for us comes off.
    let closed = source.close();
    let exit = outcome?;
    closed?;
    Ok(exit)
}

fn watch(
    options: &Options,
    sink: &mut Sink,
    told_to_end: &AtomicBool,
    known: &mut Known,
    source: &mut Source,
    decoder: &mut Decoder,
) -> anyhow::Result<Exit> {
    let deadline = options.duration.map(|duration| Instant::now() + duration);
    sink.names(&known.names);
    name_interfaces(decoder, &known.interfaces);
    known.rules.refresh(source.datapath(), decoder);
    let past = options.last.is_some() || options.since.is_some();
    let mut kernel_filter = filter(options, source)?;
    let settings = ObserverSettings { ring_bytes: options.buffer, filter: kernel_filter };
    let is_live = !past || options.follow;
    let mut drops = if is_live { KernelDrops::start(options)? } else { None };
    if let Some(drops) = &mut drops {
        drops.look(&options.root.root, source, &known.names)?;
    }
    // Before the tables are read, so that nothing falls between past and present.
    let begun = if is_live { Some(begin(options, source, settings)?) } else { None };
    let mut layer7 = options.l7.map(Decoders::new);
    if past {
        // What has begun since is told by the observer.
        let until = if begun.is_some() { monotonic() } else { u64::MAX };
        let mut show = |record| sink.record(record, None);
        let found =
            each_connection(source.datapath(), decoder, &mut known.rules, source.wanted(), until, None, &mut show)?;
        if found == 0 && !options.follow {
            options
                .log
                .warning("the connection tables hold nothing: what was just attached has no past; add -f to go on");
        }
        sink.end_of_past()?;
        sink.flush()?;
    }
    let Some((mut observer, mut fares)) = begun else { return Ok(Exit::Fine) };
    // What comes from now on is told from what was there.
    tell_counters(sink, source, fares.as_deref(), decoder, &mut known.rules)?;
    let mut told = Losses::default();
    let mut warned = HashSet::new();
    let start = Instant::now();
    let (mut losses_at, mut look_at, mut sweep_at, mut hidden_at) = (start, start, start, start);
    let ending = |sink: &Sink| {
        told_to_end.load(Ordering::Acquire)
            || sink.done()
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    };
    loop {
        let mut taken =
            take(options, &mut observer, sink, decoder, &mut known.rules, layer7.as_mut(), fares.as_deref())?;
        if let Some(drops) = &mut drops {
            taken += drops.read(decoder, &mut |record| sink.record(record, None))?;
        }
        if sink.wants_counters() {
            tell_counters(sink, source, fares.as_deref(), decoder, &mut known.rules)?;
        }
        sink.flush()?;
        let now = Instant::now();
        if now >= losses_at {
            tell_losses(options, sink, &observer, &mut told, decoder)?;
            if let Some(drops) = &mut drops {
                sink.lost(drops.lost()?, monotonic(), decoder)?;
            }
            losses_at = now + LOSSES_EVERY;
        }
        if ending(sink) {
            break;
        }
        if now >= look_at {
            let moved = look(options, sink, known, source, decoder)?;
            let wanted = filter(options, source)?;
            if moved {
                (observer, fares) = begin(options, source, settings)?;
                told = Losses::default();
                if let Some(layer7) = &mut layer7 {
                    layer7.forget_decisions();
                }
            }
            if moved || wanted != kernel_filter {
                observer.set_filter(&wanted).map_err(failure)?;
                kernel_filter = wanted;
            }
            if let Some(layer7) = &mut layer7 {
                layer7.tick(monotonic(), decoder, options.log, &mut |record| sink.record(record, None))?;
            }
            if let Some(drops) = &mut drops {
                drops.look(&options.root.root, source, &known.names)?;
                drops.settle(false, decoder, &mut |record| sink.record(record, None))?;
            }
            look_at = now + LOOK_EVERY;
        }
        if now >= sweep_at {
            // If another holds the lock it may well be sweeping; there will be a next time.
            if let Ok(lock) = NodeLock::try_take(&options.root.root) {
                source.datapath().sweep(&lock).map_err(failure)?;
            }
            sweep_at = now + SWEEP_EVERY;
        }
        if now >= hidden_at {
            tell_hidden(options, source.datapath(), &known.interfaces, &mut warned);
            hidden_at = now + HIDDEN_EVERY;
        }
        if taken == 0 {
            if sink.is_for_stdout() && nobody_reads() {
                break;
            }
            std::thread::sleep(if layer7.is_some() { PAUSE_PAYLOAD } else { PAUSE });
        }
    }
    // What is in the ring by now was sent before the end.
    observer.stop();
    while !sink.done()
        && take(options, &mut observer, sink, decoder, &mut known.rules, layer7.as_mut(), fares.as_deref())? != 0
    {}
    if let Some(layer7) = &mut layer7 {
        layer7.finish(monotonic(), decoder, &mut |record| sink.record(record, None))?;
    }
    if let Some(drops) = &mut drops {
        while !sink.done() && drops.read(decoder, &mut |record| sink.record(record, None))? != 0 {}
        drops.settle(true, decoder, &mut |record| sink.record(record, None))?;
        sink.lost(drops.lost()?, monotonic(), decoder)?;
        drops.finish();
    }
    tell_counters(sink, source, fares.as_deref(), decoder, &mut known.rules)?;
    tell_losses(options, sink, &observer, &mut told, decoder)?;
    sink.flush()?;
    Ok(if told.pauses > 0 && options.fail_on_loss { Exit::No } else { Exit::Fine })
}

/// Shows what has come; the first error of the sink ends it.
///
/// Where every packet is told, a line is a packet (or a super-packet): an end that no packet makes is left out.
fn take(
    options: &Options,
    observer: &mut Observer,
    sink: &mut Sink,
    decoder: &mut Decoder,
    rules: &mut Rules,
    mut layer7: Option<&mut Decoders>,
    fares: Option<&Followed>,
) -> anyhow::Result<usize> {
    let mut outcome = Ok(());
    let most = if layer7.is_some() { DRAIN_PAYLOAD } else { DRAIN };
    let taken = observer.read(most, |record| {
        if outcome.is_err() {
            return;
        }
        outcome = match (record, &mut layer7) {
            (Taken::Event(event), layer7) => {
                event_of(options, event, fares, sink, decoder, rules).and_then(|()| match layer7 {
                    Some(layer7) => layer7.event(event, decoder, &mut |record| sink.record(record, None)),
                    None => Ok(()),
                })
            }
            (Taken::Piece(piece, bytes), Some(layer7)) => {
                layer7.piece(piece, bytes, decoder, &mut |record| sink.record(record, None))
            }
            (Taken::Piece(..), None) => Ok(()),
        };
    });
    outcome?;
    if let Some(layer7) = layer7 {
        layer7.decide(observer, options.log);
    }
    Ok(taken)
}

fn event_of(
    options: &Options,
    event: &Event,
    fares: Option<&Followed>,
    sink: &mut Sink,
    decoder: &mut Decoder,
    rules: &mut Rules,
) -> anyhow::Result<()> {
    if options.per_packet && event.hook == hook::SWEEP {
        return Ok(());
    }
    rules.meet(event.rule, event.generation, decoder);
    let stream = Stream::of_event(event).filter(|_| event.protocol == TCP);
    let health = match (fares, stream) {
        (Some(fares), Some(stream)) => fares.of(&stream).map_err(failure)?,
        _ => None,
    };
    sink.event(event, health.as_ref(), decoder)
}

/// An observer that gets what was asked for.
/// Begins to observe, with what was asked of payload and of how connections fare.
fn begin(
    options: &Options,
    source: &Source,
    settings: ObserverSettings,
) -> anyhow::Result<(Observer, Option<Arc<Followed>>)> {
    let mut observer = Observer::start(source.datapath(), &options.root.root, settings).map_err(failure)?;
    if options.l7.is_some() {
        observer.want_payload(source.datapath(), layer7::DECISIONS).map_err(failure)?;
    }
    let fares = match options.tcp_health {
        true => Some(observer.want_health(source.datapath(), FOLLOWED).map_err(failure)?),
        false => None,
    };
    Ok((observer, fares))
}

/// Tells what was lost since it was last told.
fn tell_losses(
    options: &Options,
    sink: &mut Sink,
    observer: &Observer,
    told: &mut Losses,
    decoder: &Decoder,
) -> anyhow::Result<()> {
    let now = observer.losses().map_err(failure)?;
    sink.lost(now.lost.saturating_sub(told.lost), monotonic(), decoder)?;
    if now.pauses > told.pauses {
        options.log.warning(
            "this process was stopped for over two seconds: the kernel had switched it off, and what happened meanwhile \
             was neither shown nor counted",
        );
    }
    *told = now;
    Ok(())
}

/// Looks at what changes on a node: interfaces, names, policy, the clock. True: the datapath is another now.
fn look(
    options: &Options,
    sink: &mut Sink,
    known: &mut Known,
    source: &mut Source,
    decoder: &mut Decoder,
) -> anyhow::Result<bool> {
    let before = std::mem::take(&mut known.interfaces);
    known.interfaces = list_interfaces()?;
    if before != known.interfaces {
        for gone in before.iter().filter(|old| known.interfaces.iter().all(|new| new.index != old.index)) {
            decoder.set_interface(gone.index, None);
        }
        name_interfaces(decoder, &known.interfaces);
    }
    let moved = source.refresh(options, &known.interfaces)?;
    if known.refresh(options)? {
        decoder.set_resolver(known.resolver());
        sink.names(&known.names);
    }
    decoder.set_clock(wall_clock());
    known.rules.refresh(source.datapath(), decoder);
    Ok(moved)
}

/// Tells a report what the connections have counted by now: events tell it every few seconds only.
fn tell_counters(
    sink: &mut Sink,
    source: &Source,
    fares: Option<&Followed>,
    decoder: &mut Decoder,
    rules: &mut Rules,
) -> anyhow::Result<()> {
    if !sink.takes_counters() {
        return Ok(());
    }
    let began = Instant::now();
    let mut count = |record: Record| {
        sink.counters(&record);
        Ok(())
    };
    each_connection(source.datapath(), decoder, rules, source.wanted(), u64::MAX, fares, &mut count)?;
    sink.counted(began.elapsed());
    Ok(())
}

/// Warns, once for each, of programs that run before ours and may keep packets from it.
fn tell_hidden(
    options: &Options,
    datapath: &Datapath,
    interfaces: &[Interface],
    warned: &mut HashSet<(u32, Direction, u32)>,
) {
    let Ok(endpoints) = datapath.endpoints() else { return };
    for (_, endpoint) in endpoints {
        for direction in Direction::BOTH {
            for rival in hidden(datapath, endpoint.ifindex, direction).unwrap_or_default() {
                if warned.insert((endpoint.ifindex, direction, rival.program)) {
                    let interface = interfaces.iter().find(|known| known.index == endpoint.ifindex);
                    options.log.warning(format!(
                        "on {} ({}) the {} program \"{}\" (id {}) runs before ours: packets that it does not pass on are \
                         not seen",
                        interface.map_or("an interface", |known| known.name.as_str()),
                        direction.name(),
                        rival.kit.name(),
                        rival.name,
                        rival.program,
                    ));
                }
            }
        }
    }
}

/// What the kernel may leave out: what the filter says, and interfaces that were not asked for.
fn filter(options: &Options, source: &Source) -> anyhow::Result<ObserverFilter> {
    let mut filter = options.filter.kernel_filter(options.per_packet, |_| None);
    if options.l7.is_some() {
        both_ways(&mut filter);
    }
    if let Some(wanted) = source.wanted() {
        filter.flags |= filter_bit::ENDPOINTS;
        for (slot, endpoint) in source.datapath().endpoints().map_err(failure)? {
            if wanted.contains(&endpoint.ifindex)
                && let Some(word) = filter.endpoints.get_mut(usize::try_from(slot % SLOTS / 64).unwrap_or(0))
            {
                *word |= 1 << (slot % 64);
            }
        }
    }
    Ok(filter)
}

/// What answers is needed to understand what asks: lets what a filter lets through come from the other side, too.
fn both_ways(filter: &mut ObserverFilter) {
    for prefix in &mut filter.prefixes {
        if prefix.side != 0 {
            prefix.side = side::ANY;
        }
    }
    for port in &mut filter.ports {
        if port.side != 0 {
            port.side = side::ANY;
        }
    }
    // Ends of connections are to be heard of, whatever verdict they were under.
    filter.flags &= !filter_bit::VERDICTS;
}

/// Hands out the connection tables as flows, in the order of their last packets: connections that began before `until`,
/// nanoseconds of `CLOCK_MONOTONIC`.
fn each_connection(
    datapath: &Datapath,
    decoder: &mut Decoder,
    rules: &mut Rules,
    wanted: Option<&[u32]>,
    until: u64,
    fares: Option<&Followed>,
    take: &mut dyn FnMut(Record) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let clock = datapath.clock().map_err(failure)?;
    let hz = u64::from(datapath.control_value().map_err(failure)?.hz.max(1));
    let now = Timestamp::now();
    let mut found = Vec::new();
    for (slot, endpoint) in datapath.endpoints().map_err(failure)? {
        if wanted.is_some_and(|wanted| !wanted.contains(&endpoint.ifindex)) {
            continue;
        }
        for connection in datapath.connections(slot).map_err(failure)? {
            if connection.conn.first_seen >= until {
                continue;
            }
            let idle = clock.jiffies.saturating_sub(connection.conn.last_seen);
            let idle = Duration::from_secs(idle / hz) + Duration::from_nanos(idle % hz * 1_000_000_000 / hz);
            let last_seen = now.checked_sub(idle).unwrap_or(now);
            found.push((last_seen, endpoint.ifindex, connection));
        }
    }
    found.sort_by_key(|(last_seen, ..)| *last_seen);
    for (last_seen, ifindex, connection) in &found {
        let key = match &connection.key {
            Key::V4(key) => ConnectionKey::V4(key),
            Key::V6(key) => ConnectionKey::V6(key),
        };
        rules.meet(connection.conn.rule, connection.conn.generation, decoder);
        let entry = Connection { key, conn: &connection.conn, ifindex: *ifindex, last_seen: *last_seen };
        if let Some(mut record) = decoder.connection(&entry) {
            let fares = fares.filter(|_| connection.protocol == TCP);
            if let Some(fares) = fares
                && let Some(health) = fares.of(&Stream::of_connection(connection)).map_err(failure)?
            {
                record.tell_health(&health);
            }
            take(record)?;
        }
    }
    Ok(found.len())
}

/// What is known of the node and the cluster.
struct Known {
    cluster: names::Cluster,
    names: Arc<Names>,
    records_at: Option<SystemTime>,
    records: PathBuf,
    interfaces: Vec<Interface>,
    addresses: Vec<IpAddr>,
    node: String,
    rules: Rules,
}

impl Known {
    fn read(options: &Options, told_to_end: &AtomicBool) -> anyhow::Result<Self> {
        let mut known = Self {
            cluster: names::Cluster::open(&options.names, &options.log, told_to_end)?,
            names: Arc::default(),
            records_at: None,
            records: options.root.path(ENDPOINTS_FOLDER),
            interfaces: list_interfaces()?,
            addresses: own_addresses()?,
            node: node_name(options),
            rules: Rules::of(&options.root.root, options.log),
        };
        known.read_records(options);
        Ok(known)
    }

    /// Reads again what has changed; true: something has.
    fn refresh(&mut self, options: &Options) -> anyhow::Result<bool> {
        let addresses = own_addresses()?;
        let moved = addresses != self.addresses;
        self.addresses = addresses;
        let news = self.cluster.refresh(&options.log);
        let changed = news || changed_at(&self.records) != self.records_at;
        if changed {
            self.read_records(options);
        }
        Ok(changed || moved)
    }

    fn read_records(&mut self, options: &Options) {
        self.records_at = changed_at(&self.records);
        let (records, warnings) = read_endpoints(&self.records);
        for warning in warnings {
            options.log.warning(warning);
        }
        let began = Instant::now();
        self.names = Arc::new(Names::new(&self.cluster.objects, &records));
        self.cluster.named(began);
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(Arc::clone(&self.names), &self.node, &self.addresses)
    }
}

fn changed_at(folder: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(folder).and_then(|facts| facts.modified()).ok()
}

fn list_interfaces() -> anyhow::Result<Vec<Interface>> {
    interfaces().map_err(|error| Failure::new(Exit::Failed, format!("cannot list interfaces: {error}")).into())
}

/// The addresses of the host, but for those that every host has.
fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let mut own = addresses()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot list this host's addresses: {error}")))?;
    own.sort_unstable();
    own.dedup();
    Ok(own)
}

fn name_interfaces(decoder: &mut Decoder, interfaces: &[Interface]) {
    for interface in interfaces {
        decoder.set_interface(interface.index, Some(&interface.name));
    }
}

fn node_name(options: &Options) -> String {
    options
        .node_name
        .clone()
        .unwrap_or_else(|| nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default())
}

fn wall_clock() -> WallClock {
    WallClock::new(monotonic(), Timestamp::now())
}

/// Whether the other end of stdout, if it is a pipe, is closed: nobody would read what comes.
fn nobody_reads() -> bool {
    let stdout = std::io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLERR)))
}

/// A flag that is set when this process is told to end.
///
/// A screen sees to a second one itself, since it has to give the terminal back.
fn signals(has_screen: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // A second one ends it at once: somebody is in a hurry, and tcx links go with the process.
        if !has_screen {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
        }
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}
