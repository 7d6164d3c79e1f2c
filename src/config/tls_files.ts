/**
 * Looks at the certificate and key of an export, as far as they are on this machine.
 *
 * @module
 */

import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from "node:crypto";
import type { TlsConfig } from "./types.ts";

/** What was found, in one line: what, where, the mend. */
export interface TlsFinding {
  readonly severity: "error" | "warning";
  readonly text: string;
}

/** An expiry that is nearer than this is told, in milliseconds. */
const SOON = 14 * 24 * 3600 * 1000;

/** Everything that is wrong with the files, or could not be looked at. `now`: of the wall clock. */
export function checkTlsFiles({ certificate, key }: TlsConfig, now: Date): TlsFinding[] {
  const findings: TlsFinding[] = [];
  const find = (severity: TlsFinding["severity"], text: string): undefined => {
    findings.push({ severity, text });
    return undefined;
  };
  const certificateText = read(certificate, find);
  const keyText = read(key, find);
  if (keyText !== undefined) checkMode(key, find);
  const parsed = certificateText === undefined
    ? undefined
    : parse(() => new X509Certificate(certificateText)) ??
      find("error", `${certificate} holds no certificate in PEM; write the server's into it`);
  const own = keyText === undefined ? undefined : parse(() => createPrivateKey(keyText)) ??
    find("error", `${key} holds no private key in PEM without a passphrase; write one into it`);
  if (parsed === undefined) return findings;
  if (own !== undefined && !belongsTo(own, parsed)) {
    find("error", `${key} is not the key of ${certificate}; put the two together that belong`);
  }
  const end = new Date(parsed.validTo);
  if (end.getTime() < now.getTime()) {
    find("warning", `${certificate} expired on ${day(end)}, clients refuse it; renew it`);
  } else if (end.getTime() < now.getTime() + SOON) {
    find("warning", `${certificate} expires on ${day(end)}; renew it`);
  }
  return findings;
}

type Find = (severity: TlsFinding["severity"], text: string) => undefined;

function read(path: string, find: Find): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return find("warning", `${path} does not exist here; nodes that serve the volume need it`);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return find("warning", `${path} was not checked, permission denied; check as root`);
    }
    const why = error instanceof Error ? error.message : String(error);
    return find("error", `${path} cannot be read (${why}); name the right file`);
  }
}

function checkMode(key: string, find: Find): void {
  const mode = (Deno.statSync(key).mode ?? 0) & 0o777;
  if ((mode & 0o077) === 0) return;
  find("error", `${key} can be read by others (mode ${mode.toString(8)}); chmod 600 ${key}`);
}

function parse<T>(how: () => T): T | undefined {
  try {
    return how();
  } catch {
    // Whatever the library has to say of it, it is not what it should be.
    return undefined;
  }
}

function belongsTo(key: KeyObject, certificate: X509Certificate): boolean {
  const public_ = (of: KeyObject) => of.export({ type: "spki", format: "der" }).toString("hex");
  return public_(createPublicKey(key)) === public_(certificate.publicKey);
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
