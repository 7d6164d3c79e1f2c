/** Two replicating data planes in a process that is going to be killed; says its record as JSON. */
import { Rig } from "./fixtures.ts";
import { Pair } from "./pair.ts";

const [directory] = Deno.args;
const pair = await Pair.start(new Rig(directory));
await pair.promote(pair.a);
await pair.connected();
const { epoch, version, generation, upToDate } = pair;
const { socket } = pair.a;
const left = { epoch, version, generation, upToDate, socket };
Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(left)}\n`));
