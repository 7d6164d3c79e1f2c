/** Volumes served to other machines: one address, TLS, and the group moves under the clients. */
import assert from "node:assert/strict";
import { makeCertificates } from "../dataplane/certificates.ts";
import { QemuIo } from "../dataplane/qemu_io.ts";
import { type Cluster, VIRTUAL_ADDRESS, withCluster } from "./cluster.ts";
import { e2eTest, must, type Network, run } from "./network.ts";

const PORT = 10809;

function tlsExport(network: Network): string {
  const pki = `${network.directory}/pki`;
  const client = network.address("client", 0);
  return `{ address = "tcp://${VIRTUAL_ADDRESS}:${PORT}", ` +
    `tls = { certificate = "${pki}/server-cert.pem", key = "${pki}/server-key.pem" }, ` +
    `allow = ["${client}"] }`;
}

e2eTest(
  "two volumes on the group's address, within TLS, and a move under qemu",
  ["openssl", "nbdinfo", "qemu-io"],
  () =>
    withCluster({ export: tlsExport, second: "logs" }, async (cluster: Cluster) => {
      const { alpha, beta, network } = cluster;
      const { directory } = await makeCertificates(
        `${network.directory}/pki`,
        `IP:${VIRTUAL_ADDRESS}`,
      );
      await cluster.start();
      const uri = (name: string) =>
        `nbds://${VIRTUAL_ADDRESS}:${PORT}/${name}?tls-certificates=${directory}`;
      const client = (...command: string[]) => network.on("client", command);

      await cluster.until("both volumes are listed", async () => {
        const { code, stdout } = await run(client("nbdinfo", "--list", "--json", uri("")));
        if (code !== 0) return false;
        const { exports } = JSON.parse(stdout);
        const names = exports.map((entry: Record<string, unknown>) => entry["export-name"]);
        return names.join() === "data,logs";
      });
      // Whoever is not on the list gets nothing, whatever he has; nor does who speaks in the clear.
      assert.notEqual((await run(network.on("beta", ["nbdinfo", uri("data")]))).code, 0);
      const plain = `nbd://${VIRTUAL_ADDRESS}:${PORT}/data`;
      assert.notEqual((await run(client("nbdinfo", plain))).code, 0);

      const [command, ...rest] = client(
        "qemu-io",
        ...["--object", `tls-creds-x509,id=tls0,dir=${directory},endpoint=client`],
        "--image-opts",
        `driver=nbd,host=${VIRTUAL_ADDRESS},port=${PORT},export=data,tls-creds=tls0,` +
          `reconnect-delay=60`,
      );
      const qemu = new QemuIo([command!, ...rest]);
      try {
        for (let n = 0; n < 8; n++) await qemu.done(`write -P ${n + 1} ${n * 256}k 64k`);
        const { code, stderr } = await alpha.bascule("move", "web", "beta");
        assert.equal(code, 0, stderr);
        for (let n = 8; n < 16; n++) await qemu.done(`write -P ${n + 1} ${n * 256}k 64k`);
        for (let n = 0; n < 16; n++) await qemu.done(`read -P ${n + 1} ${n * 256}k 64k`);
      } finally {
        await qemu.quit();
      }
      assert.doesNotMatch(qemu.said, /verification failed|error|shutdown/i);
      await cluster.waitForOwner(beta);
      await must(client("nbdinfo", uri("logs")));

      const volume = (await beta.status())!.volumes.find(({ name }) => name === "data")!;
      assert.ok(volume.io!.write.requests >= 8, JSON.stringify(volume.io));
      assert.equal(volume.io!.write.latency.total.count, volume.io!.write.requests);
      assert.ok(volume.io!.write.latency.replica.count > 0);
      const { stdout: output } = await beta.bascule("volume", "status", "data");
      assert.match(output, /volume data: \d+ NBD clients?; latencies/);
      assert.match(output, /write +\d+ +0 +\d+ KiB +< \d+/);
    }),
);
