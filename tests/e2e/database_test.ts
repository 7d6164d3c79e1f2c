/**
 * PostgreSQL as the service of a group: a database on the volume, started and stopped by the agent,
 * reached by its clients at the address that moves. Whatever ends its node, no committed row is lost.
 *
 * `BASCULE_TAKEOVERS` says how many takeovers.
 */
import assert from "node:assert/strict";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { MOUNT_TOOLS, mountMissing } from "./mounts.ts";
import { e2eTest, run } from "./network.ts";
import type { Node } from "./node.ts";

const TAKEOVERS = Number(Deno.env.get("BASCULE_TAKEOVERS") ?? 4);
const SHOW = Deno.env.has("BASCULE_TAKEOVERS");
const BIN = "/usr/lib/postgresql/15/bin";

/** Starts, stops or looks for the database of the node on which the agent calls it. */
const SERVICE = `set -e
cd "$BASCULE_RUNTIME_DIR/.."
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
control() { as_postgres ${BIN}/pg_ctl --silent -D mnt/db "$@"; }
case $1 in
start)
  mkdir -p fuse mnt
  setsid nbdfuse fuse "nbd+unix:///data?socket=$PWD/run/data.sock" >>nbdfuse.log 2>&1 &
  for _ in $(seq 100); do [ -e fuse/nbd ] && break; sleep 0.1; done
  blkid -p fuse/nbd >/dev/null || mkfs.ext4 -q fuse/nbd
  mount -o loop fuse/nbd mnt
  if [ ! -e mnt/db/complete ]; then
    rm -rf mnt/db; mkdir mnt/db; chown postgres mnt/db
    as_postgres ${BIN}/initdb --pgdata=mnt/db --auth=trust --username=postgres >initdb.log 2>&1
    echo "host all postgres ${VIRTUAL_ADDRESS}/24 trust" >>mnt/db/pg_hba.conf
    sync -f mnt; touch mnt/db/complete; sync -f mnt
  fi
  options="-c listen_addresses=${VIRTUAL_ADDRESS} -c unix_socket_directories="
  control start -w -t 30 -l mnt/db/log -o "$options"
  ;;
stop)
  control stop -w -m fast || [ ! -e mnt/db/postmaster.pid ]
  if mountpoint -q mnt; then umount mnt; fi
  if mountpoint -q fuse; then fusermount3 -u fuse; fi
  ;;
status)
  control status >/dev/null
  ;;
esac
`;

const DATABASE = (() => {
  const call = (verb: string) => JSON.stringify(["sh", "-c", SERVICE, "database", verb]);
  return `{ kind = "command", name = "database", start = ${call("start")}, ` +
    `stop = ${call("stop")}, status = ${call("status")}, start_timeout = "60s" }`;
})();

/** Inserts numbered rows, one transaction each, and remembers which were committed. */
class Writer {
  readonly committed: number[] = [];
  readonly #cluster: Cluster;
  #next = 1;
  #over = false;
  readonly #ended: Promise<void>;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
    this.#ended = this.#write();
  }

  async stop(): Promise<void> {
    this.#over = true;
    await this.#ended;
  }

  async #write(): Promise<void> {
    while (!this.#over) {
      const row = this.#next++;
      const { code } = await ask(this.#cluster, `insert into ledger values (${row})`);
      if (code === 0) this.committed.push(row);
    }
  }
}

/** Asks the database at the address that moves, from the client's host. */
function ask(cluster: Cluster, sql: string) {
  const where = `host=${VIRTUAL_ADDRESS} user=postgres connect_timeout=1 ` +
    "keepalives_idle=1 keepalives_interval=1 keepalives_count=2 tcp_user_timeout=2000";
  const command = ["psql", where, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"];
  return run(cluster.network.on("client", ["timeout", "20", ...command, "--command", sql]));
}

/** Every committed row is there. */
async function checkRows(cluster: Cluster, committed: readonly number[]): Promise<void> {
  let rows = new Set<number>();
  await cluster.until("the database answers", async () => {
    const { code, stdout } = await ask(cluster, "select n from ledger");
    rows = new Set(stdout.trim().split("\n").map(Number));
    return code === 0;
  });
  const lost = committed.filter((row) => !rows.has(row));
  assert.deepEqual(lost, [], `${lost.length} of ${committed.length} committed rows are lost`);
}

/** How a takeover comes about. Gives the node that has to take over, and what mends the other. */
const ENDS: readonly {
  readonly what: string;
  end(owner: Node): Promise<unknown>;
  mend(owner: Node): Promise<void>;
}[] = [
  { what: "power cut", end: (owner) => owner.powerCut(), mend: (owner) => owner.powerOn() },
  { what: "move", end: (owner) => owner.bascule("move", "web"), mend: () => Promise.resolve() },
];

function serverMissing(): string[] {
  try {
    return Deno.statSync(`${BIN}/initdb`).isFile ? [] : [BIN];
  } catch {
    return ["postgresql-15"];
  }
}

const programs = ["psql", "setpriv", "blkid", "mkfs.ext4"];
e2eTest(
  `PostgreSQL on the volume: no committed row is lost over ${TAKEOVERS} takeovers`,
  [...MOUNT_TOOLS, ...programs, ...serverMissing(), ...await mountMissing("ext4")],
  () =>
    withCluster({ sizeMiB: 192, resources: [DATABASE] }, async (cluster) => {
      // Breaks when a COMMIT's FLUSH is answered before both replicas have what it covers.
      const { network } = cluster;
      for (const { directory } of [network, cluster.alpha, cluster.beta]) {
        Deno.chmodSync(directory, 0o711);
      }
      await cluster.start();
      const made = await ask(cluster, "create table ledger (n bigint primary key)");
      assert.equal(made.code, 0, made.stderr);
      const writer = new Writer(cluster);
      try {
        let owner = cluster.alpha;
        for (let n = 0; n < TAKEOVERS; n++) {
          const before = writer.committed.length;
          await cluster.until("rows are committed", () => writer.committed.length > before + 20);
          const { what, end, mend } = ENDS[n % ENDS.length]!;
          const began = performance.now();
          await end(owner);
          const next = cluster.other(owner);
          await cluster.waitForOwner(next);
          const seconds = ((performance.now() - began) / 1000).toFixed(1);
          await checkRows(cluster, [...writer.committed]);
          if (SHOW) {
            // deno-lint-ignore no-console -- what a run of some minutes shows of itself
            console.log(`${n + 1}: ${what}, ${seconds} s, ${writer.committed.length} rows`);
          }
          await mend(owner);
          await cluster.waitInSync(next);
          owner = next;
        }
      } finally {
        await writer.stop();
      }
      await checkRows(cluster, writer.committed);
      await cluster.waitForSameData();
    }),
);
