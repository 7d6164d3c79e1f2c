/** Every checker finds the violation that is planted for it in an otherwise good world. */

import assert from "node:assert/strict";
import { RegisterClients, RegisterObserver } from "../../src/sim/register_clients.ts";
import type { TimedFault } from "../../src/sim/faults.ts";
import type { Machine } from "../../src/sim/machine.ts";
import { type Options, PLAIN } from "../../src/sim/options.ts";
import { simulate } from "../../src/sim/simulation.ts";
import type { World } from "../../src/sim/world.ts";
import { createRegister } from "../../src/cluster/register_state.ts";

/** A calm world of 40 s. */
const CALM: Options = { ...PLAIN, seed: 5, duration: 40_000, keepalive: 500, deadtime: 2000 };
/** By then everything runs. */
const LATER = 25_000;

function outcomeOf(
  prepare: (world: World) => void,
  options: Partial<Options> = {},
  faults: readonly TimedFault[] = [],
): string | null {
  return simulate({ ...CALM, ...options }, { faults, prepare }).violation;
}

function at(world: World, time: number, action: () => void): void {
  world.schedule.after(time, action);
}

const primary = (world: World): Machine =>
  world.machines.find(({ agent }) => agent?.volumes.get("data")?.plane?.serving)!;

Deno.test("without a planted violation nothing is found", () => {
  assert.equal(outcomeOf(() => {}), null);
});

Deno.test("P3: two machines that answer for one address", () => {
  const found = outcomeOf((world) => {
    at(world, LATER, () => {
      for (const machine of world.machines) machine.holdsAddress = () => true;
    });
  });
  assert.match(found!, /^P3: n1 and n2 both hold the address of web/);
});

Deno.test("P3: a machine that stood still with its clock is forgiven its address for a lease", () => {
  const freeze: TimedFault = { at: LATER, fault: "freeze", node: "n1", for: 6000 };
  assert.equal(outcomeOf(() => {}, {}, [freeze]), null);
  const found = outcomeOf(
    (world) => {
      for (const machine of world.machines) {
        Object.defineProperty(machine, "stale", { value: false });
      }
    },
    {},
    [freeze],
  );
  assert.match(found!, /^P3: n1 and n2 both hold the address of web/);
});

Deno.test("P1: a disk of the in-sync set that forgets, found at the next acknowledged write", () => {
  const found = outcomeOf((world) => {
    at(world, LATER, () => {
      const owner = primary(world);
      const other = world.machines.find((each) => each !== owner && each.disks.has("data"))!;
      other.disks.get("data")!.beginWrite = () => () => {};
    });
  });
  assert.match(found!, /^P1: member n\d holds value \d+ of block \d+, not what was acknowledged/);
});

Deno.test("P2: a read of what was overwritten long ago", () => {
  const found = outcomeOf((world) => {
    const history = world.history("data");
    const { end } = history;
    const old = new Map<number, number>();
    history.end = (operation, now) => {
      const { what, block, value } = operation;
      if (what === "write" && !old.has(block)) old.set(block, value);
      if (what === "read" && now > LATER) operation.value = old.get(block)!;
      end.call(history, operation, now);
    };
  });
  assert.match(found!, /^P2: no order of block \d+ explains/);
});

Deno.test("replicas that differ though nothing is dirty", () => {
  const found = outcomeOf((world) => {
    const rare = (block: number) => ![...world.history("data").written].includes(block);
    at(world, LATER, () => {
      const { cache } = world.machines[1]!.disks.get("data")!;
      cache[cache.findIndex((_, block) => rare(block))] = 77;
    });
  }, { power: "many" });
  assert.match(found!, /^replicas: block \d+ of data is 0 on one replica and 77 on the other/);
});

Deno.test("P4: a machine that never comes back, a group that nobody may run, a takeover that waits", () => {
  const down = outcomeOf(
    (world) => {
      at(world, LATER, () => world.machines[1]!.start = () => {});
    },
    {},
    [{ at: LATER + 1000, fault: "kill", node: "n2", down: 1000 }],
  );
  assert.match(down!, /^P4: at \d+ ms, long after all was mended: n2 is down/);
  const idle = outcomeOf((world) => {
    for (const machine of world.machines) machine.runs = () => false;
  });
  assert.match(idle!, /^P4: .* nobody runs web/);
  const slow = outcomeOf((world) => {
    // The other hangs from the moment at which the last owner is killed.
    for (const machine of world.machines) {
      const { kill } = machine;
      machine.kill = (power) => {
        for (const { main, hold } of world.machines.filter((each) => each !== machine)) {
          hold.call(machine, [main], null);
        }
        kill.call(machine, power);
      };
    }
  });
  assert.match(slow!, /^P4: (nobody runs web \d+ ms after its owner died|.* does not serve web)/);
});

Deno.test("P5: metadata that a reload cannot use, or that forgot what was relied upon", () => {
  const unreadable = outcomeOf((world) => {
    at(world, LATER, () => world.machines[0]!.disks.get("data")!.metadata.fill(0));
  });
  assert.match(unreadable!, /^P5: the replica of data on n1 would not open: .*volume create/);
  const before: Uint8Array[] = [];
  const forgetful = outcomeOf((world) => {
    at(world, 1, () => before.push(world.machines[0]!.disks.get("data")!.metadata.slice()));
    at(world, LATER, () => world.machines[0]!.disks.get("data")!.metadata.set(before[0]!));
  });
  assert.match(forgetful!, /^P5: n1 relies on epoch \d+ of data; a reload finds 0/);
});

Deno.test("P5: blocks that differ and stand in no log", () => {
  const found = outcomeOf((world) => {
    at(world, LATER, () => {
      const { cache } = world.machines[1]!.disks.get("data")!;
      const { cache: other } = world.machines[0]!.disks.get("data")!;
      // Far from what the log names just now.
      other[4000] = 1;
      cache[4000] = 2;
      const history = world.history("data");
      history.end(history.begin("write", 4000, 2, false, world.now, "n1"), world.now);
    });
  }, { blocks: 5000, hotBlocks: 2 });
  assert.match(found!, /^P5: block 4000 of data is 1 on n1 and 2 on n2; .* would name it/);
});

Deno.test("P6: a note that says nothing", () => {
  const found = outcomeOf((world) => {
    at(world, LATER, () =>
      world.note("n1", {
        level: "info",
        rule: "take",
        text: `n1 takes undefined`,
        known: {},
      }));
  });
  assert.match(found!, /^P6: n1 notes \[take\] n1 takes undefined/);
});

Deno.test("an exception of a core", () => {
  const found = outcomeOf((world) => {
    at(world, LATER, () => {
      world.machines[0]!.agent!.state.registers.clear();
    });
  });
  assert.match(found!, /^exception: n1 at /);
});

Deno.test("the register: an operation that shows less than one that had ended before", () => {
  const clients = new RegisterClients();
  const early = clients.begin("cluster", 0);
  clients.end(clients.begin("cluster", 1), 3, 2, "a");
  // It overlapped: either order will do.
  clients.end(early, 2, 5, "b");
  clients.end(clients.begin("cluster", 6), 3, 7, "b");
  const late = clients.begin("cluster", 8);
  assert.throws(() => clients.end(late, 2, 9, "b"), /shows version 2; version 3 had been shown/);
});

Deno.test("the register is watched in every world: its operations end, and a stale one is found", () => {
  let ended = 0;
  const good = outcomeOf((world) => {
    at(world, LATER, () => ended = world.registerClients.ended);
  });
  assert.equal(good, null);
  assert.ok(ended >= 5, `${ended} operations were seen`);
  const clients = new RegisterClients();
  clients.end(clients.begin("cluster", 0), 9, 1, "somebody");
  const observer = new RegisterObserver(clients, "n1");
  const register = createRegister("cluster");
  const attempt = { startedAt: 5 } as unknown as NonNullable<typeof register.attempt>;
  register.attempt = attempt;
  observer.look([register], 5);
  register.attempt = null;
  // A failed operation shows nothing.
  observer.look([register], 6);
  register.attempt = attempt;
  observer.look([register], 7);
  Object.assign(register, { attempt: null, confirmedAt: 5 });
  assert.throws(() => observer.look([register], 8), /shows version 0; version 9 had been shown/);
});

Deno.test("P2: data that parted under protocol A are parted, once a side has left the other out", () => {
  // Breaks when all of it passes for what was in flight at the takeover, which that protocol may lose.
  const parted = (routes: string[], duration: number) => {
    let seen: World | null = null;
    const cut: TimedFault = { at: LATER, fault: "cut", routes, for: duration };
    outcomeOf((world) => seen = world, {
      mode: "survivor",
      witnesses: 0,
      protocol: "A",
      hotBlocks: 16,
      think: 100,
    }, [cut]);
    return [...seen!.survivors!.parted];
  };
  assert.deepEqual(parted(["n1-n2"], 14_000), ["data"]);
  assert.deepEqual(parted(["n1-n2/r"], 1000), []);
});
