/** What the main thread and the Worker that ends TLS say to each other. */
import type { TlsConfig } from "../config/types.ts";

/** Name of the Worker, by which the program's main module knows what it is to be. */
export const TLS_RELAY = "bascule tls";

/** A connection on which TLS begins, and the socket that takes what is within. */
export interface TlsRelayOrder {
  readonly fd: number;
  readonly plain: number;
  readonly tls: TlsConfig;
}

/** What the Worker posts. */
export type TlsRelayMessage =
  /** It listens. */
  | { readonly type: "loaded" }
  | {
    readonly type: "note";
    readonly level: "debug" | "error";
    readonly rule: string;
    readonly text: string;
  };
