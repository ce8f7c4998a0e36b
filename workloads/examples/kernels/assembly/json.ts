// Text of an object is made and read back into a map: strings, memory, collection of garbage.
export function json(rounds: i32): f64 {
  let sum: f64 = 0;
  for (let round = 0; round < rounds; round++) {
    const parts: string[] = [];
    for (let i = 0; i < 50; i++) parts.push('"k' + i.toString() + '":' + (i * round).toString());
    const numbers = read("{" + parts.join(",") + "}");
    sum += <f64>numbers.get("k7") + <f64>numbers.size;
  }
  return sum;
}

function read(text: string): Map<string, i32> {
  const numbers = new Map<string, i32>();
  for (let i = 1; i < text.length; i++) {
    if (text.charCodeAt(i) != 0x22) continue;
    const end = text.indexOf('"', i + 1);
    const name = text.substring(i + 1, end);
    let value = 0;
    for (i = end + 2; ; i++) {
      const digit = text.charCodeAt(i) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    numbers.set(name, value);
  }
  return numbers;
}
