//! Time to load the object, and memory of the connection tables.
//!
//! A table without preallocation costs its buckets and its ring of keys when it is made, an element for each connection, and a
//! few elements that the kernel keeps at hand for each CPU. The last grow with the machine, so they are computed for others.

use std::time::Instant;

use anyhow::{Context, Result};
use chainkit_abi::{CONNECTIONS, Conn, Key4, Key6};
use chainkit_bpf::{Datapath, NodeLock, Program, Settings, TestContext};
use chainkit_lab::Lab;
use serde_json::json;

use crate::{
    frames::Case,
    meminfo::Kernel,
    report::Report,
    stats::{median, rounded},
};

/// Endpoints of a large node; each half is one end of a pair of interfaces.
const ENDPOINTS: u32 = 250;
/// Ports of the connections that fill a table.
const FIRST_PORT: u16 = 1024;

/// All of it.
pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    let lab = Lab::new()?;
    lab.node().run(|| {
        load(report, rounds)?;
        tables(report, &lab)
    })?
}

fn load(report: &Report, rounds: usize) -> Result<()> {
    report.heading("loading")?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        drop(Datapath::load()?);
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let time = median(&times);
    report.result(
        &json!({ "kind": "load", "ms": rounded(time, 1), "rounds": rounds }),
        &format!("the object, verified and its maps made: {time:.1} ms"),
    )
}

fn tables(report: &Report, lab: &Lab) -> Result<()> {
    report.heading(&format!(
        "memory of {ENDPOINTS} endpoints with tables of {CONNECTIONS} connections for each family"
    ))?;
    let names: Vec<(String, String)> =
        (0..ENDPOINTS / 2).map(|pair| (format!("bench{pair}a"), format!("bench{pair}b"))).collect();
    let commands: Vec<String> =
        names.iter().map(|(one, two)| format!("link add {one} type veth peer name {two}")).collect();
    lab.node().ip(commands.iter().map(String::as_str))?;
    let interfaces: Vec<u32> = names
        .iter()
        .flat_map(|(one, two)| [one, two])
        .map(|name| lab.node().ifindex(name).map_err(Into::into))
        .collect::<Result<_>>()?;
    let before = Kernel::now()?;
    let datapath = Datapath::load()?;
    let loaded = Kernel::now()?;
    tell(report, "the object with no endpoint", loaded.since(before), 1)?;
    let lock = NodeLock::take(lab.root())?;
    for ifindex in &interfaces {
        datapath.add_endpoint(&lock, *ifindex, Settings::default())?;
    }
    tell(report, "idle", Kernel::now()?.since(loaded), ENDPOINTS)?;
    fill(&datapath, &interfaces, Case::Udp4)?;
    tell(report, "IPv4 tables full", Kernel::now()?.since(loaded), ENDPOINTS)?;
    fill(&datapath, &interfaces, Case::Tcp6)?;
    let full = Kernel::now()?.since(loaded);
    tell(report, "both tables full", full, ENDPOINTS)?;
    drop(datapath);
    computed(report)
}

fn fill(datapath: &Datapath, interfaces: &[u32], case: Case) -> Result<()> {
    let places = u16::try_from(CONNECTIONS).context("more connections than ports")?;
    for port in (FIRST_PORT..).take(usize::from(places)) {
        let frame = case.first(port);
        for ifindex in interfaces {
            let context = TestContext { ifindex: *ifindex, ..TestContext::default() };
            datapath.test_run(Program::FromPod, &frame, context, 1)?;
        }
    }
    Ok(())
}

fn tell(report: &Report, what: &str, grown: Kernel, shares: u32) -> Result<()> {
    let mebibytes = |bytes: i64| {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let bytes = bytes as f64;
        bytes / f64::from(1 << 20)
    };
    let sum = mebibytes(grown.sum());
    report.result(
        &json!({
            "kind": "memory", "state": what, "endpoints": shares, "slab": grown.slab, "percpu": grown.percpu,
            "vmalloc": grown.vmalloc, "bytes": grown.sum(), "bytes_per_endpoint": grown.sum() / i64::from(shares),
        }),
        &format!(
            "{what:28} {sum:7.1} MiB   (slab {:.1}, per CPU {:.1}, vmalloc {:.1}){}",
            mebibytes(grown.slab),
            mebibytes(grown.percpu),
            mebibytes(grown.vmalloc),
            if shares > 1 {
                format!("   {:.0} KiB an endpoint", sum * 1024.0 / f64::from(shares))
            } else {
                String::new()
            },
        ),
    )
}

/// Bytes of a hash table's element besides key and value (`struct htab_elem`, kernel/bpf/hashtab.c), and of what the allocator
/// puts before it (`LLIST_NODE_SZ`, kernel/bpf/memalloc.c).
const ELEMENT: usize = 48;
const LIST_NODE: usize = 8;
/// Elements kept at hand for each CPU and table: when it is made, once that CPU has entered a connection, and at most
/// (`prefill_mem_cache` and the watermarks of `init_refill_work`, kernel/bpf/memalloc.c, for elements up to 256 bytes).
const PREFILLED: usize = 4;
const REFILLED: usize = 4 + 48;
const WATERMARK: usize = 96;
/// `struct bpf_mem_cache`, one for each CPU and table.
const CACHE: usize = 192;

/// Bytes of the size class that an element of a table falls into (the kmalloc caches, mm/slab_common.c).
fn size_class(key: usize) -> usize {
    let bytes = LIST_NODE + ELEMENT + key.next_multiple_of(8) + size_of::<Conn>();
    [96, 128, 192, 256, 512].into_iter().find(|class| bytes <= *class).unwrap_or(bytes)
}

/// The same by the kernel's own rules, for this machine and a large one.
fn computed(report: &Report) -> Result<()> {
    report.heading("the same by the kernel's rules (6.1 and later; before, nothing is kept at hand)")?;
    let (places, endpoints) = (usize::try_from(CONNECTIONS)?, usize::try_from(ENDPOINTS)?);
    let (class4, class6) = (size_class(size_of::<Key4>()), size_class(size_of::<Key6>()));
    // A bucket is a list head and a lock.
    let fixed = places * (2 * 16 + size_of::<Key4>() + size_of::<Key6>());
    let elements = places * (class4 + class6);
    for cpus in [2, 96] {
        let at_hand = |count: usize| cpus * (2 * CACHE + count * (class4 + class6));
        let states = [
            ("idle", fixed + at_hand(PREFILLED)),
            ("every CPU has opened a connection of each family in every pod", fixed + at_hand(REFILLED)),
            ("full, and as much at hand as there may be", fixed + elements + at_hand(WATERMARK)),
        ];
        for (state, bytes) in states {
            report.result(
                &json!({
                    "kind": "memory-computed", "cpus": cpus, "endpoints": endpoints, "state": state,
                    "bytes": bytes * endpoints, "bytes_per_endpoint": bytes,
                }),
                &format!("{cpus:3} CPUs, {state}: {} MiB   {} KiB an endpoint", (bytes * endpoints) >> 20, bytes >> 10),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_fall_into_the_classes_that_the_kernel_has() {
        assert_eq!(size_class(size_of::<Key4>()), 192);
        assert_eq!(size_class(size_of::<Key6>()), 256);
    }
}
