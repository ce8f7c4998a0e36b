// A picture, smaller: a binary PPM (P6) on stdin, one with sides of at most SIZE pixels (256) on stdout. Each pixel is the mean of those
// that it stands for, so that thin lines do not vanish. A task that needs CPU and memory: see [resources] in godwit.toml.
//
//   convert photo.jpg ppm:- | godwit run workloads/examples/thumbnail -- 128 > small.ppm
import { stderr, stdin, stdout } from "godwit/cli";
import { Picture, readPicture, scale } from "./picture";

const SIZE_DEFAULT = 256;

export function main(args: string[]): i32 {
  const size = args.length ? <i32>parseInt(args[0]) : SIZE_DEFAULT;
  if (args.length > 1 || size < 1 || size > 4096) {
    stderr.writeLine("usage: thumbnail [SIZE]   SIZE is 1 to 4096 pixels");
    return 1;
  }
  const picture = readPicture(stdin.readBytes());
  if (!picture) {
    stderr.writeLine("thumbnail: this is no binary PPM with 8 bits a colour");
    return 1;
  }
  const longer = max(picture.width, picture.height);
  const small = longer <= size ? picture : scale(picture, max(1, picture.width * size / longer), max(1, picture.height * size / longer));
  stdout.write("P6\n" + small.width.toString() + " " + small.height.toString() + "\n255\n");
  stdout.writeBytes(small.pixels);
  return 0;
}
