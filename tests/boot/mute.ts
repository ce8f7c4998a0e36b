/** What a boot test upgrades to: a machine whose card sends nothing, so that it never has an address and waits for one. */
import { Socket } from "node:dgram";

Socket.prototype.send = () => {};
await import("#os/init.ts");
