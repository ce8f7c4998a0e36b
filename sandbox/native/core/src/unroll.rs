//! Short loops without calls, their turns written out some times over, so that fuel is looked at once in so many turns.
//!
//! That look is a call that mostly does not happen, and what a loop carries in floating-point registers from turn to turn is kept on
//! the stack because of it: 1.7 times the time of a loop of sums. No instruction is left out or added that costs fuel, so a program
//! uses exactly what it used; only where it is stopped is up to so many turns later, and always the same. A loop is taken if it goes
//! round from its end, where nothing but ends follow:
//!
//!   loop A br_if 0 end         →  loop A if A br_if 1 end end
//!   loop A if B br 1 end end   →  loop A if B (i32.const 0 drop) A if B br 2 end end end
//!
//! What it reads is a stranger's and not validated yet. What cannot be read stays as it is, and the compiler says why.
use crate::places::{Places, write_unsigned};
use wasmparser::{BinaryReader, BlockType, FunctionBody, Operator};

/// Instructions of a turn. Fewer do nothing that is worth it: such a loop waits for its fuel to end, which is not to come sooner.
const TURN_MIN: usize = 8;
/// Instructions of a loop with all its turns, and the most turns. More of either gains nothing that can be measured.
const WRITTEN_MAX: usize = 256;
const TURNS_MAX: usize = 4;
/// Of a function that is looked at: a larger one was made by a machine, and for it memory is short.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Components in components.
const NESTED_MAX: u32 = 8;

const HEADER_BYTES: usize = 8;
const LAYER_COMPONENT: u8 = 1;
const OF_COMPONENT_MODULE: u8 = 1;
const OF_COMPONENT_COMPONENT: u8 = 4;
const OF_MODULE_CODE: u8 = 10;

const IF_EMPTY: &[&[u8]] = &[&[0x04, 0x40]];
/// Costs what the branch costs in whose place it stands.
const AS_MUCH_AS_A_BRANCH: &[&[u8]] = &[&[0x41, 0x00], &[0x1a]];
const BRANCH: u8 = 0x0c;
const BRANCH_IF: u8 = 0x0d;
const END: u8 = 0x0b;
/// First bytes of what has no target and calls nobody: unreachable, nop, else, return; drop, select, variables; memory, numbers; vectors.
const PLAIN: [std::ops::RangeInclusive<u8>; 6] = [0x00..=0x01, 0x05..=0x05, 0x0f..=0x0f, 0x1a..=0x24, 0x28..=0xc4, 0xfd..=0xfd];

/// Bytes, and where each of them was.
#[derive(Default)]
pub struct Written {
    pub bytes: Vec<u8>,
    pub places: Places,
}

impl Written {
    /// `bytes` as they stand at `from`.
    fn copy(&mut self, bytes: &[u8], from: usize) {
        self.places.add(self.bytes.len(), from);
        self.bytes.extend_from_slice(bytes);
    }
    fn number(&mut self, number: usize) {
        write_unsigned(&mut self.bytes, number as u64);
    }
    fn append(&mut self, part: Written) {
        self.places.append(part.places, self.bytes.len());
        self.bytes.extend_from_slice(&part.bytes);
    }
}

/// None when nothing is to be written otherwise.
pub fn unroll(component: &[u8]) -> Option<Written> {
    binary(component, 0, 0)
}

/// A component or a module, that begins at `base` of the whole.
fn binary(bytes: &[u8], base: usize, nested: u32) -> Option<Written> {
    let is_component = *bytes.get(6)? == LAYER_COMPONENT;
    let (mut written, mut is_changed) = (Written::default(), false);
    written.copy(bytes.get(..HEADER_BYTES)?, base);
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let (length, start) = number(bytes, at + 1)?;
        let end = start.checked_add(length)?;
        let content = bytes.get(start..end)?;
        let changed = match (is_component, bytes[at]) {
            (true, OF_COMPONENT_MODULE | OF_COMPONENT_COMPONENT) if nested < NESTED_MAX => binary(content, base + start, nested + 1),
            (false, OF_MODULE_CODE) => code(content, base + start),
            _ => None,
        };
        is_changed |= changed.is_some();
        match changed {
            Some(part) => {
                written.copy(&bytes[at..=at], base + at);
                written.number(part.bytes.len());
                written.append(part);
            }
            None => written.copy(&bytes[at..end], base + at),
        }
        at = end;
    }
    is_changed.then_some(written)
}

fn code(bytes: &[u8], base: usize) -> Option<Written> {
    let (mut written, mut is_changed) = (Written::default(), false);
    let (count, mut at) = number(bytes, 0)?;
    written.copy(&bytes[..at], base);
    for _ in 0..count {
        let (length, start) = number(bytes, at)?;
        let end = start.checked_add(length)?;
        let body = bytes.get(start..end)?;
        match function(body, base + start) {
            Some(part) => {
                is_changed = true;
                written.number(part.bytes.len());
                written.append(part);
            }
            None => written.copy(&bytes[at..end], base + at),
        }
        at = end;
    }
    written.copy(&bytes[at..], base + at);
    is_changed.then_some(written)
}

/// The number at `at`, and what comes after it.
fn number(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (n, byte) in bytes.get(at..)?.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, at + n + 1));
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A block, loop or if; whether nothing goes in or comes out.
    Open { is_loop: bool, is_empty: bool },
    End,
    Branch(u32),
    BranchIf(u32),
    Plain,
    /// Calls, and branches of other forms: a loop that has one stays as it is.
    Other,
}

#[derive(Clone, Copy)]
struct Step {
    kind: Kind,
    at: usize,
}

/// None for what no module of today has, and for frames of exceptions: a function with one stays as it is.
fn kind_of(operator: &Operator, first_byte: u8) -> Option<Kind> {
    let open = |is_loop, blockty: &BlockType| Kind::Open { is_loop, is_empty: *blockty == BlockType::Empty };
    Some(match operator {
        Operator::Block { blockty } | Operator::If { blockty } => open(false, blockty),
        Operator::Loop { blockty } => open(true, blockty),
        Operator::End => Kind::End,
        Operator::Br { relative_depth } => Kind::Branch(*relative_depth),
        Operator::BrIf { relative_depth } => Kind::BranchIf(*relative_depth),
        Operator::TryTable { .. } | Operator::Try { .. } | Operator::Delegate { .. } | Operator::Catch { .. } | Operator::CatchAll => return None,
        Operator::MemoryGrow { .. } => Kind::Other,
        _ if PLAIN.iter().any(|bytes| bytes.contains(&first_byte)) => Kind::Plain,
        _ => Kind::Other,
    })
}

/// A loop: the steps where it begins, where it goes round, and where it ends.
struct Round {
    begin: usize,
    back: usize,
    end: usize,
}

fn function(body: &[u8], base: usize) -> Option<Written> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    let reader = FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader().ok()?;
    let mut steps = Vec::new();
    for operator in reader.into_iter_with_offsets() {
        let (operator, at) = operator.ok()?;
        steps.push(Step { kind: kind_of(&operator, body[at])?, at });
    }
    let rounds = rounds(&steps);
    if rounds.is_empty() {
        return None;
    }
    let mut written = Written::default();
    let mut done = 0;
    for round in rounds {
        let back = steps[round.back].at;
        written.copy(&body[done..back], base + done);
        turns(&mut written, body, base, &steps, &round);
        done = steps[round.back + 1].at;
    }
    written.copy(&body[done..], base + done);
    Some(written)
}

/// The innermost loops that are taken, in the order in which they stand.
fn rounds(steps: &[Step]) -> Vec<Round> {
    let (mut rounds, mut begun) = (Vec::new(), None);
    let mut frames = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        match step.kind {
            Kind::Open { is_loop, .. } => {
                frames.push(n);
                if is_loop {
                    begun = Some(n);
                }
            }
            Kind::Other => begun = None,
            Kind::End => {
                let Some(begin) = frames.pop() else { continue };
                if begun == Some(begin) {
                    begun = None;
                    rounds.extend(round(steps, begin, n));
                }
            }
            _ => {}
        }
    }
    rounds
}

fn round(steps: &[Step], begin: usize, end: usize) -> Option<Round> {
    let inner = steps[begin + 1..end].iter().rev().take_while(|step| step.kind == Kind::End).count();
    let back = (end - inner).checked_sub(1).filter(|back| *back > begin)?;
    let goes_round = matches!(steps[back].kind, Kind::Branch(depth) | Kind::BranchIf(depth) if depth as usize == inner);
    if !goes_round || back - begin < TURN_MIN || 2 * (back - begin) > WRITTEN_MAX {
        return None;
    }
    // The loop and what is open where it goes round.
    let mut open = Vec::new();
    for step in &steps[begin..back] {
        match step.kind {
            Kind::Open { is_empty, .. } => open.push(is_empty),
            Kind::End => _ = open.pop(),
            _ => {}
        }
    }
    (open.len() == inner + 1 && open.iter().all(|is_empty| *is_empty)).then_some(Round { begin, back, end })
}

/// In the place of the step back: the other turns, and then it.
fn turns(written: &mut Written, body: &[u8], base: usize, steps: &[Step], round: &Round) {
    let Round { begin, back, end } = *round;
    let inner = end - back - 1;
    let is_conditional = matches!(steps[back].kind, Kind::BranchIf(_));
    let deeper = inner + usize::from(is_conditional);
    let others = (WRITTEN_MAX / (back - begin)).min(TURNS_MAX) - 1;
    for turn in 1..=others {
        for instruction in if is_conditional { IF_EMPTY } else { AS_MUCH_AS_A_BRANCH } {
            written.copy(instruction, base + steps[back].at);
        }
        copy_turn(written, body, base, &steps[begin + 1..=back], turn * deeper);
    }
    written.copy(&[if is_conditional { BRANCH_IF } else { BRANCH }], base + steps[back].at);
    written.number(inner + others * deeper);
    for _ in 0..others * deeper {
        written.copy(&[END], base + steps[back + 1].at);
    }
}

/// All but the last of `steps`, whose branches out of the turn find their targets so much further out.
fn copy_turn(written: &mut Written, body: &[u8], base: usize, steps: &[Step], further: usize) {
    let (mut own, mut from) = (0_u32, steps[0].at);
    for pair in steps.windows(2) {
        let Step { kind, at } = pair[0];
        match kind {
            Kind::Open { .. } => own += 1,
            Kind::End => own -= 1,
            Kind::Branch(depth) | Kind::BranchIf(depth) if depth >= own => {
                written.copy(&body[from..at], base + from);
                written.copy(&[if kind == Kind::Branch(depth) { BRANCH } else { BRANCH_IF }], base + at);
                written.number(depth as usize + further);
                from = pair[1].at;
            }
            _ => {}
        }
    }
    let end = steps[steps.len() - 1].at;
    written.copy(&body[from..end], base + from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{Parser, Payload, Validator};

    const LOOP: u8 = 0x03;
    const GET: [u8; 2] = [0x20, 0x00];
    /// local 0 less one, twice, kept and left on the stack.
    const LESS: [u8; 15] = [0x20, 0x00, 0x41, 0x01, 0x6b, 0x22, 0x00, 0x1a, 0x20, 0x00, 0x41, 0x01, 0x6b, 0x22, 0x00];
    const EMPTY: u8 = 0x40;

    /// A module with one function of one i32 that returns nothing, in a component.
    fn component(body: &[u8]) -> Vec<u8> {
        let section = |id: &[u8], content: &[u8]| {
            let mut section = Written { bytes: id.to_vec(), ..Written::default() };
            section.number(content.len());
            [&section.bytes, content].concat()
        };
        let function = section(&[1], &[&[0], body, &[END]].concat());
        let module = [&b"\0asm\x01\0\0\0\x01\x05\x01\x60\x01\x7f\x00\x03\x02\x01\x00"[..], &section(&[OF_MODULE_CODE], &function)].concat();
        [&b"\0asm\x0d\0\x01\0"[..], &section(&[OF_COMPONENT_MODULE], &module)].concat()
    }

    /// The function's instructions, and its fuel if each is done once.
    fn body(component: &[u8]) -> Vec<(String, u32)> {
        Validator::new().validate_all(component).unwrap();
        let mut instructions = Vec::new();
        for payload in Parser::new(0).parse_all(component) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
                    let (operator, at) = operator.unwrap();
                    let name = format!("{operator:?}");
                    instructions.push((name.split([' ', '{']).next().unwrap().into(), at as u32));
                }
            }
        }
        instructions
    }

    fn names(component: &[u8]) -> String {
        body(component).into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_loop_that_goes_round_from_its_end_has_its_turns_written_out() {
        let simple = component(&[&[LOOP, EMPTY][..], &LESS, &[BRANCH_IF, 0, END]].concat());
        let unrolled = unroll(&simple).unwrap();
        let less = "LocalGet I32Const I32Sub LocalTee";
        let turn = format!("{less} Drop {less}");
        assert_eq!(names(&unrolled.bytes), format!("Loop {turn} If {turn} If {turn} If {turn} BrIf End End End End End"));
        // for (;;) with its condition first, as AssemblyScript writes it.
        let head = component(&[&[LOOP, EMPTY][..], &GET, IF_EMPTY[0], &LESS, &[0x1a, BRANCH, 1, END, END]].concat());
        let unrolled = unroll(&head).unwrap();
        let turn = format!("LocalGet If {less} Drop {less} Drop");
        let next = format!("I32Const Drop {turn}");
        assert_eq!(names(&unrolled.bytes), format!("Loop {turn} {next} {next} {next} Br End End End End End End"));
    }

    #[test]
    fn what_does_not_go_round_from_its_end_or_is_long_or_does_nothing_stays() {
        let early = [&[LOOP, EMPTY][..], &LESS, &[BRANCH_IF, 0], &GET, &[0x1a, END]].concat();
        let long = [&[LOOP, EMPTY][..], &[0x01; 90], &LESS, &[BRANCH_IF, 0, END]].concat();
        let many = [&[LOOP, EMPTY][..], &[0x01; 120], &LESS, &[BRANCH_IF, 0, END]].concat();
        assert!(unroll(&component(&early)).is_none());
        assert_eq!(names(&unroll(&component(&long[..])).unwrap().bytes).matches("LocalTee").count(), 4);
        assert!(unroll(&component(&many)).is_none());
        let short = [&[LOOP, EMPTY][..], &GET, &[BRANCH_IF, 0, END]].concat();
        assert!(unroll(&component(&short)).is_none());
        let inner = [&[LOOP, EMPTY][..], &LESS, &[BRANCH_IF, 0, END]].concat();
        let nested = [&[LOOP, EMPTY][..], &inner, &LESS, &[BRANCH_IF, 0, END]].concat();
        assert_eq!(names(&unroll(&component(&nested)).unwrap().bytes).matches("Loop").count(), 2);
    }

    #[test]
    fn branches_out_of_a_turn_find_their_targets() {
        // block loop if (local) br 2 out, else less; br_if 0 end end
        let leaves = [&[0x02, EMPTY, LOOP, EMPTY][..], &GET, IF_EMPTY[0], &GET, &[BRANCH_IF, 2, END], &LESS, &[BRANCH_IF, 0, END, END]].concat();
        let unrolled = unroll(&component(&leaves)).unwrap();
        Validator::new().validate_all(&unrolled.bytes).unwrap();
        let depths: Vec<u8> = unrolled.bytes.windows(3).filter(|bytes| bytes[0] == BRANCH_IF && bytes[2] == END).map(|bytes| bytes[1]).collect();
        assert_eq!(depths, [2, 3, 4, 5, 3]);
    }

    #[test]
    fn each_instruction_is_told_at_the_place_where_it_stood() {
        let code = component(&[&GET[..], &[0x1a, LOOP, EMPTY], &LESS, &[BRANCH_IF, 0, END], &GET, &[0x1a]].concat());
        let unrolled = unroll(&code).unwrap();
        let before = body(&code);
        for (name, at) in body(&unrolled.bytes) {
            let place = unrolled.places.before(at).unwrap();
            let was = &before.iter().find(|(_, start)| *start == place).unwrap_or_else(|| panic!("{name} at {place}")).0;
            assert!(*was == name || (was == "BrIf" && name == "If"), "{name} was {was}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let code = component(&[&[LOOP, EMPTY][..], &LESS, &[BRANCH_IF, 0, END]].concat());
        for length in 0..code.len() {
            assert!(unroll(&code[..length]).is_none());
        }
        for at in 0..code.len() {
            for bit in 0..8 {
                let mut changed = code.clone();
                changed[at] ^= 1 << bit;
                _ = unroll(&changed);
            }
        }
    }
}
