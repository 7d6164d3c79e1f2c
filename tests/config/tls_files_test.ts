import assert from "node:assert/strict";
import { checkTlsFiles } from "../../src/config/tls_files.ts";
import { makeCertificates } from "../dataplane/certificates.ts";
import { toolTest } from "../dataplane/fixtures.ts";

const DAY = 24 * 3600 * 1000;

async function withCertificates(
  test: (tls: { certificate: string; key: string }, directory: string) => Promise<void> | void,
): Promise<void> {
  const directory = Deno.makeTempDirSync({ prefix: "bascule-tls-" });
  try {
    const { tls } = await makeCertificates(`${directory}/pki`);
    await test(tls, directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

const from = (days: number) => new Date(Date.now() + days * DAY);
const NOW = from(-30);

toolTest(
  ["openssl"],
  "a certificate and its key that are well are not talked about",
  () =>
    withCertificates((tls) => {
      assert.deepEqual(checkTlsFiles(tls, NOW), []);
    }),
);

toolTest(
  ["openssl"],
  "an expired certificate, and one that soon will be",
  () =>
    withCertificates((tls) => {
      const [soon] = checkTlsFiles(tls, from(0));
      assert.equal(soon?.severity, "warning");
      assert.match(soon.text, /server-cert\.pem expires on \d{4}-\d\d-\d\d; renew it/);
      const [late] = checkTlsFiles(tls, from(3));
      assert.match(late!.text, /expired on .*, clients refuse it; renew it/);
    }),
);

toolTest(
  ["openssl"],
  "a key of another certificate, open to others, or not a key at all",
  () =>
    withCertificates(async (tls, directory) => {
      const { tls: other } = await makeCertificates(`${directory}/other`);
      assert.deepEqual(checkTlsFiles({ ...tls, key: other.key }, NOW), [{
        severity: "error",
        text: `${other.key} is not the key of ${tls.certificate}; put the two together that belong`,
      }]);
      Deno.chmodSync(tls.key, 0o640);
      assert.deepEqual(checkTlsFiles(tls, NOW), [{
        severity: "error",
        text: `${tls.key} can be read by others (mode 640); chmod 600 ${tls.key}`,
      }]);
      Deno.chmodSync(tls.key, 0o600);
      const found = checkTlsFiles({ certificate: tls.key, key: tls.certificate }, NOW);
      assert.ok(found.some(({ text }) => text.includes("holds no certificate in PEM")));
      assert.ok(found.some(({ text }) => text.includes("holds no private key in PEM")));
    }),
);

Deno.test("files that are not here are a warning: the configuration is checked anywhere", () => {
  const tls = { certificate: "/nowhere/cert.pem", key: "/nowhere/key.pem" };
  assert.deepEqual(
    checkTlsFiles(tls, NOW).map(({ severity, text }) => [severity, text]),
    ["cert", "key"].map((name) => [
      "warning",
      `/nowhere/${name}.pem does not exist here; nodes that serve the volume need it`,
    ]),
  );
});
