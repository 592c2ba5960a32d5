//! What it takes to have policy in force at the size of the largest users, and what it costs a packet.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use anyhow::{Context, Result};
use chainkit_abi::{Active, Subject, mode, set_of};
use chainkit_bpf::{Datapath, NodeLock, Program as Hook, TestContext};
use chainkit_cluster::model::{Change, Object, TargetPort};
use chainkit_enforce::{Compiler, Draft, Pods, Store, kernel, policy_number};
use chainkit_policy::{Live, Options, Scope};
use serde_json::json;

use crate::{
    datapath,
    floor::{Floor, Program},
    frames::{self, Case},
    policy::common::{
        self,
        large::{PODS_OF_EACH, busy},
    },
    report::Report,
    stats::{median, middle, rounded},
};

const NAMESPACES: usize = 5_000;
/// Small enough that nothing of policy is large.
const FEW: usize = 5;
/// What is to be reached, in seconds and as ratios.
const COLD: f64 = 5.0;
const ELSEWHERE: f64 = 0.005;
const ESTABLISHED: f64 = 1.05;
const FIRST: f64 = 1.5;
/// Runs of a program in one call.
const REPEAT: u32 = 20_000;
const PORT: u16 = 1000;
/// First packets of each sort.
const FIRSTS: u32 = 20_000;

pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    let root = tempfile::tempdir()?;
    let few = Loaded::new(FEW, None)?;
    report.heading(&format!(
        "policy in force: {} pods, {} policies, {} endpoints of services",
        NAMESPACES * PODS_OF_EACH,
        NAMESPACES * 2,
        NAMESPACES * PODS_OF_EACH
    ))?;
    let mut many = Loaded::new(NAMESPACES, Some((report, root.path())))?;
    elsewhere(report, &mut many)?;
    crate::cost::on_one_cpu(|| {
        report.heading("ns a packet, established: enforced by few and by many policies, beside the observing datapath in the same round")?;
        established(report, root.path(), &few, &many, rounds)?;
        report.heading("ns a first packet, judged, with random peers; beside a floor of one miss and insert, one hash hit, one hit of a trie")?;
        first(report, root.path(), &many)
    })
}

/// A cluster, compiled and made into tables.
struct Loaded {
    live: Live,
    compiler: Compiler,
    tables: chainkit_bpf::TableSet,
    /// Number of the rules of a pod here.
    policy: u32,
}

impl Loaded {
    fn new(namespaces: usize, told: Option<(&Report, &std::path::Path)>) -> Result<Self> {
        let mut cluster = busy(namespaces);
        for at in 0..namespaces {
            for (service_at, app) in ["app2", "app3"].into_iter().enumerate() {
                let number = at * 2 + service_at;
                let address = format!("10.97.{}.{}", number / 250, number % 250);
                let name = format!("ns{at}/t{service_at}");
                let target = TargetPort::Number(8080);
                cluster.services.push(common::service(&name, &[("app", app)], &address, 80, target));
            }
        }
        let options = Options { scope: Scope::Node("n0".to_owned()), ..Options::default() };
        let started = Instant::now();
        let live = Live::new(cluster, &options);
        let (compiler, compiled) = Compiler::new(&live, &Default::default())?;
        let compiled_after = started.elapsed().as_secs_f64();
        let tables = kernel::make(compiler.image())?;
        let loaded_after = started.elapsed().as_secs_f64();
        if let Some((report, root)) = told {
            save(&Store::below(root), &live, &compiler)?;
            let all = started.elapsed().as_secs_f64();
            report.result(
                &json!({
                    "kind": "enforce", "what": "cold apply", "seconds": rounded(all, 3), "target": COLD,
                    "compile_seconds": rounded(compiled_after, 3), "load_seconds": rounded(loaded_after - compiled_after, 3),
                    "save_seconds": rounded(all - loaded_after, 3), "entries": compiled.delta.len(),
                }),
                &format!(
                    "cold apply, {} entries   {all:6.2} s   (to reach: {COLD})   compiled {compiled_after:.2}, loaded {:.2}, written down {:.2}",
                    compiled.delta.len(),
                    loaded_after - compiled_after,
                    all - loaded_after
                ),
            )?;
        }
        let here = live.engine().world().cluster.workloads.iter().position(|pod| pod.node.as_deref() == Some("n0"));
        let policy = here.and_then(|at| live.engine().policy_of(at)).context("no pod is here")?;
        Ok(Self { live, compiler, tables, policy: policy_number(policy) })
    }

    /// Puts the tables in force for the endpoint of loopback.
    fn enforce(&self, datapath: &Datapath, root: &std::path::Path, slot: u32) -> Result<()> {
        let lock = NodeLock::take(root)?;
        let generation = 1;
        let subject = Subject { ifindex: 1, policy: self.policy, mode: mode::ENFORCE, ..Subject::default() };
        self.tables.set_subject(slot, subject)?;
        datapath.put_tables(&lock, set_of(generation), &self.tables)?;
        datapath.set_rules_since(generation);
        datapath.set_active(Active { generation, deadline: 0 }, 0);
        Ok(())
    }
}

fn save(store: &Store, live: &Live, compiler: &Compiler) -> Result<()> {
    let mut draft: Draft = store.begin()?;
    draft.tables(&compiler.image().delta())?;
    draft.rules(compiler.rules())?;
    draft.pods(&Pods::default())?;
    draft.objects(live.engine().world().cluster.saved())?;
    draft.finish(&store.new_name(1))?;
    Ok(())
}

/// A pod that comes somewhere else: from the object to the kernel.
fn elsewhere(report: &Report, many: &mut Loaded) -> Result<()> {
    let mut times = Vec::new();
    let mut in_place = 0usize;
    for turn in 0..100u8 {
        let namespace = format!("ns{}", if turn % 2 == 0 { 0 } else { 1 + usize::from(turn) * 7 });
        let cluster = &many.live.engine().world().cluster;
        let mut pod = cluster
            .workloads
            .iter()
            .find(|pod| pod.namespace == namespace)
            .cloned()
            .context("there is no pod to copy")?;
        pod.name = format!("new-{turn}");
        pod.node = Some("n7".to_owned());
        pod.addresses = vec![Ipv4Addr::new(10, 251, turn, 1).into()];
        let started = Instant::now();
        let update = many.live.apply(vec![Change::Set(Box::new(Object::Workload(pod)))]);
        let compiled = many.compiler.update(&many.live, &update)?;
        kernel::write(&many.tables, &compiled.delta)?;
        times.push(started.elapsed().as_secs_f64());
        in_place += usize::from(compiled.in_place);
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    report.result(
        &json!({
            "kind": "enforce", "what": "a pod elsewhere", "seconds": rounded(median(&times), 6), "worst_seconds": rounded(worst, 6),
            "target": ELSEWHERE, "in_place": in_place, "of": times.len(),
        }),
        &format!(
            "a pod elsewhere, to the kernel   {:7.3} ms, at worst {:.3}   (to reach: {:.0})   {in_place} of {} written in place",
            median(&times) * 1e3,
            worst * 1e3,
            ELSEWHERE * 1e3,
            times.len()
        ),
    )
}

fn established(report: &Report, root: &std::path::Path, few: &Loaded, many: &Loaded, rounds: usize) -> Result<()> {
    let observing = datapath::of_loopback(root, chainkit_abi::CONNECTIONS)?;
    let by_few = datapath::of_loopback(root, chainkit_abi::CONNECTIONS)?;
    let by_many = datapath::of_loopback(root, chainkit_abi::CONNECTIONS)?;
    for (datapath, loaded) in [(&by_few, few), (&by_many, many)] {
        let (slot, _) = datapath.endpoint(1)?.context("the endpoint is gone")?;
        loaded.enforce(datapath, root, slot)?;
    }
    for case in Case::ALL {
        let frame = case.established(PORT);
        let mut times: [Vec<f64>; 3] = Default::default();
        for datapath in [&observing, &by_few, &by_many] {
            // What a policy denies is established all the same, from before.
            datapath.set_active(Active::default(), 0);
            datapath::establish(datapath, case, PORT)?;
        }
        for _ in 0..rounds {
            for (datapath, times) in [&observing, &by_few, &by_many].into_iter().zip(&mut times) {
                let run = datapath.test_run(Hook::FromPod, &frame, TestContext::default(), REPEAT)?;
                times.push(f64::from(run.nanoseconds));
            }
        }
        let [observing, few, many] = times.map(|times| middle(&times));
        report.result(
            &json!({
                "kind": "enforce", "what": "established", "case": case.name(), "observing_ns": rounded(observing, 1),
                "few_ns": rounded(few, 1), "many_ns": rounded(many, 1), "ratio": rounded(many / observing, 3),
                "target": ESTABLISHED, "rounds": rounds,
            }),
            &format!(
                "{:5} observing {observing:6.1}   few policies {few:6.1}   many {many:6.1}   ratio {:5.2}   (to reach: {ESTABLISHED})",
                case.name(),
                many / observing
            ),
        )?;
    }
    Ok(())
}

fn first(report: &Report, root: &std::path::Path, many: &Loaded) -> Result<()> {
    let image = many.compiler.image();
    let mut floor = Floor::load()?;
    floor.fill(&image.classes4, &image.prefixes4)?;
    let mut hosts: Vec<[u8; 4]> = image.classes4.keys().copied().collect();
    hosts.sort_unstable();
    let host = |random: u64| hosts.get(usize::try_from(random).unwrap_or(0) % hosts.len().max(1)).copied();
    for outside in [false, true] {
        let datapath = datapath::of_loopback(root, 60_000)?;
        let (slot, _) = datapath.endpoint(1)?.context("the endpoint is gone")?;
        many.enforce(&datapath, root, slot)?;
        let (mut empty, mut least, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for turn in 0..FIRSTS {
            random = next(random);
            let known = host(random).context("there is no address")?;
            let peer = if outside {
                let [a, b, c, d, ..] = random.to_be_bytes();
                Ipv4Addr::new(11 + a % 100, b, c, d)
            } else {
                Ipv4Addr::from(known)
            };
            let port = 1024 + u16::try_from(turn % 60_000).unwrap_or(0);
            // What rules let out: DNS to pods, HTTPS to the outside.
            let frame = frames::opening(IpAddr::V4(peer), port, outside);
            let context = TestContext { cb: [u32::from_ne_bytes(known), 0, 0, 0, 0], ..TestContext::default() };
            let run = datapath.test_run(Hook::FromPod, &frame, TestContext::default(), 1)?;
            if run.answer == DROP {
                continue;
            }
            ours.push(f64::from(run.nanoseconds));
            empty.push(floor.run(Program::Empty, &frame, 1)?);
            least.push(floor.run_in(Program::First, &frame, context)?);
        }
        let empty = median(&empty);
        let (least, judged) = (median(&least) - empty, median(&ours) - empty);
        let name = if outside { "outside" } else { "pods" };
        report.result(
            &json!({
                "kind": "enforce", "what": "first packet", "peers": name, "ns": rounded(judged, 0), "floor_ns": rounded(least, 0),
                "ratio": rounded(judged / least, 2), "target": FIRST, "rounds": ours.len(),
            }),
            &format!(
                "to {name:8} {judged:6.0}   floor {least:5.0}   ratio {:5.2}   (to reach: {FIRST})   {} packets",
                judged / least,
                ours.len()
            ),
        )?;
    }
    Ok(())
}

/// What a program answers that drops a packet: `TC_ACT_SHOT` (linux/pkt_cls.h).
const DROP: i32 = 2;

/// The next of a row of random numbers (Marsaglia, "Xorshift RNGs", 2003).
const fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    random
}
