// One path fills fresh memory with a pattern, the other counts what is not zero in memory that nobody has written to.
import { Request, Response } from "godwit/http";

const PAGES = 20;
const PATTERN: u8 = 0xaa;

export function handle(request: Request): Response {
  const before = <usize>memory.size() << 16;
  if (memory.grow(PAGES) < 0) unreachable();
  const end = before + (<usize>PAGES << 16);
  if (request.path == "/fill") {
    memory.fill(before, PATTERN, end - before);
    return Response.text("filled");
  }
  let found = 0;
  for (let address = before; address < end; address += 8) if (load<u64>(address)) found++;
  // Also what the allocator has not given out yet.
  for (let address: usize = 1024; address < before; address += 8) if (load<u64>(address) == 0xaaaaaaaaaaaaaaaa) found++;
  return Response.text(found.toString());
}
