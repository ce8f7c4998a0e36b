//! Where in the component each instruction was before it was written otherwise, so that a trap is told at the place its author knows.
//!
//! wasmtime keeps in what it compiles, for each range of machine code, an offset in the component (`ELF_WASMTIME_ADDRMAP`, whose form
//! is described there). The section is written again with the old offsets, at the end of the file, and its header points to it.

/// Runs of bytes: (where one begins now, where it began), ascending by the first.
#[derive(Default)]
pub struct Places(Vec<(usize, usize)>);

const SECTION: &[u8] = b".wasmtime.addrmap\0";
const BLOCK_ENTRIES: usize = 128;
const ELF_MAGIC: &[u8] = b"\x7fELF\x02\x01";

impl Places {
    pub fn add(&mut self, now: usize, before: usize) {
        if self.0.last().is_none_or(|(start, from)| now - start + from != before) {
            self.0.push((now, before));
        }
    }

    /// Of a part that begins at `at` of the whole.
    pub fn append(&mut self, part: Places, at: usize) {
        self.0.extend(part.0.into_iter().map(|(now, before)| (now + at, before)));
    }

    pub fn before(&self, now: u32) -> Option<u32> {
        let run = self.0.partition_point(|(start, _)| *start <= now as usize).checked_sub(1)?;
        let (start, from) = self.0[run];
        u32::try_from(now as usize - start + from).ok()
    }

    /// None when the code is not as it was expected.
    pub fn restore(&self, mut code: Vec<u8>) -> Option<Vec<u8>> {
        let header = section_header(&code)?;
        let (start, length) = (read_u64(&code, header + 24)?, read_u64(&code, header + 32)?);
        let restored = self.restore_section(code.get(start..start.checked_add(length)?)?)?;
        let (start, length) = (code.len() as u64, restored.len() as u64);
        code[header + 24..header + 32].copy_from_slice(&start.to_le_bytes());
        code[header + 32..header + 40].copy_from_slice(&length.to_le_bytes());
        code.extend_from_slice(&restored);
        Some(code)
    }

    fn restore_section(&self, section: &[u8]) -> Option<Vec<u8>> {
        let (entries, blocks) = (read_u32(section, 0)? as usize, read_u32(section, 4)? as usize);
        let bodies = section.get(8 + blocks.checked_mul(8)?..)?;
        let (mut index, mut written) = (section[..8].to_vec(), Vec::with_capacity(bodies.len() + bodies.len() / 8));
        for block in 0..blocks {
            let at = 8 + block * 8;
            index.extend_from_slice(&section[at..at + 4]);
            index.extend_from_slice(&u32::try_from(written.len()).ok()?.to_le_bytes());
            let mut rest = bodies.get(read_u32(section, at + 4)? as usize..)?;
            self.restore_block(&mut rest, entries.checked_sub(block * BLOCK_ENTRIES)?.min(BLOCK_ENTRIES), &mut written)?;
        }
        index.extend_from_slice(&written);
        Some(index)
    }

    /// Entries: a token, whose last bit says that no place follows; the first place of a block, then what to add to the one before.
    fn restore_block(&self, rest: &mut &[u8], entries: usize, written: &mut Vec<u8>) -> Option<()> {
        let (mut place, mut told) = (None, None);
        for _ in 0..entries {
            let token = read_unsigned(rest)?;
            write_unsigned(written, token);
            if token & 1 == 1 {
                continue;
            }
            let now = match place {
                None => u32::try_from(read_unsigned(rest)?).ok()?,
                Some(before) => u32::try_from(i64::from(before) + read_signed(rest)?).ok()?,
            };
            place = Some(now);
            let before = self.before(now)?;
            match told {
                None => write_unsigned(written, before.into()),
                Some(last) => write_signed(written, i64::from(before) - i64::from(last)),
            }
            told = Some(before);
        }
        Some(())
    }
}

/// Where the header of the section is.
fn section_header(code: &[u8]) -> Option<usize> {
    if !code.starts_with(ELF_MAGIC) {
        return None;
    }
    let half = |at: usize| Some(u16::from_le_bytes(code.get(at..at + 2)?.try_into().ok()?) as usize);
    let (headers, size, count, names) = (read_u64(code, 0x28)?, half(0x3a)?, half(0x3c)?, half(0x3e)?);
    let header = |n: usize| headers.checked_add(n * size);
    let names = read_u64(code, header(names)? + 24)?;
    (0..count).filter_map(header).find(|header| {
        let name = read_u32(code, *header).and_then(|name| code.get(names.checked_add(name as usize)?..));
        name.is_some_and(|name| name.starts_with(SECTION))
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?)).ok()
}

fn read_unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

fn read_signed(bytes: &mut &[u8]) -> Option<i64> {
    let (mut value, mut shift) = (0_i64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= i64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            let is_negative = byte & 0x40 != 0 && shift < 64;
            return Some(if is_negative { value | (-1 << shift) } else { value });
        }
    }
}

/// LEB128, as in components.
pub fn write_unsigned(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn write_signed(bytes: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            return bytes.push(byte);
        }
        bytes.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block: (what to add to the offset in the code, place or none).
    fn section(entries: &[(u64, Option<u32>)]) -> Vec<u8> {
        let (mut bodies, mut last) = (Vec::new(), None);
        for (delta, place) in entries {
            write_unsigned(&mut bodies, delta << 1 | u64::from(place.is_none()));
            match (place, last) {
                (None, _) => continue,
                (Some(place), None) => write_unsigned(&mut bodies, (*place).into()),
                (Some(place), Some(last)) => write_signed(&mut bodies, i64::from(*place) - i64::from(last)),
            }
            last = *place;
        }
        [(entries.len() as u32).to_le_bytes(), 1_u32.to_le_bytes(), 0_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat().into_iter().chain(bodies).collect()
    }

    #[test]
    fn places_are_those_from_before() {
        let mut places = Places::default();
        for (now, before) in [(0, 0), (100, 100), (160, 120), (400, 100), (1_000, 640)] {
            places.add(now, before);
        }
        let now = section(&[(0, Some(90)), (3, None), (70, Some(161)), (2, Some(410)), (900, Some(1_000)), (1, Some(10))]);
        let before = section(&[(0, Some(90)), (3, None), (70, Some(121)), (2, Some(110)), (900, Some(640)), (1, Some(10))]);
        assert_eq!(places.restore_section(&now), Some(before));
        assert_eq!(places.restore_section(&now[..now.len() - 1]), None);
        assert!(places.restore(b"no code".to_vec()).is_none());
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for number in [0, 1, -1, 63, 64, -64, -65, 8_191, -8_192, i64::from(u32::MAX), -i64::from(u32::MAX)] {
            let mut bytes = Vec::new();
            write_signed(&mut bytes, number);
            assert_eq!(read_signed(&mut &bytes[..]), Some(number));
        }
    }
}
