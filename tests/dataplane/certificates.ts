/** Certificates for a test: an authority, and a server's. */
import type { TlsConfig } from "../../src/config/types.ts";
import { must } from "./fixtures.ts";

/** The directory that clients are given, with `ca-cert.pem`, and the server's files. */
export interface Certificates {
  readonly directory: string;
  readonly tls: TlsConfig;
}

/** Makes them in a new directory, for a server of these names. */
export async function makeCertificates(
  directory: string,
  names = "DNS:localhost,IP:127.0.0.1",
): Promise<Certificates> {
  Deno.mkdirSync(directory);
  const file = (name: string) => `${directory}/${name}`;
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  await must("openssl", [
    ...["req", "-x509", ...key, "-keyout", file("ca-key.pem"), "-out", file("ca-cert.pem")],
    ...["-days", "2", "-subj", "/CN=authority"],
  ]);
  await must("openssl", [
    ...["req", ...key, "-keyout", file("server-key.pem"), "-out", file("server.csr")],
    ...["-subj", "/CN=localhost", "-addext", `subjectAltName=${names}`],
  ]);
  await must("openssl", [
    ...["x509", "-req", "-in", file("server.csr"), "-out", file("server-cert.pem"), "-days", "2"],
    ...["-CA", file("ca-cert.pem"), "-CAkey", file("ca-key.pem"), "-CAcreateserial"],
    ...["-copy_extensions", "copy"],
  ]);
  return { directory, tls: { certificate: file("server-cert.pem"), key: file("server-key.pem") } };
}
