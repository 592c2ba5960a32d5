//! Another version of the eBPF object, for tests and benches of swapping one for the other.

/// The object with another timeout: an established TCP connection counts as absent after 8001 s instead of 8000. `None`: no program
/// of it has this timeout.
#[must_use]
pub fn another_version(object: &[u8]) -> Option<Vec<u8>> {
    /// Bytes of an instruction: opcode, registers, two of offset, four of the immediate value (linux/bpf.h, `struct bpf_insn`).
    const INSTRUCTION: usize = 8;
    /// The moves of an immediate value into a register, of 32 and of 64 bits (`BPF_ALU | BPF_MOV`, `BPF_ALU64 | BPF_MOV`).
    const MOVES: [u8; 2] = [0xb4, 0xb7];
    let mut other = object.to_vec();
    let mut found = false;
    for instruction in other.chunks_exact_mut(INSTRUCTION) {
        let [opcode, registers, 0, 0, value @ ..] = instruction else { continue };
        if MOVES.contains(opcode) && *registers < 10 && *value == 8000u32.to_le_bytes() {
            value.copy_from_slice(&8001u32.to_le_bytes());
            found = true;
        }
    }
    found.then_some(other)
}
