/**
 * All commands, in the order of the help. A new one takes an import and a line.
 *
 * @module
 */

import { message } from "@optique/core/message";
import { confirmOffCommand, volumePromoteCommand } from "./by_hand.ts";
import { checkCommand } from "./check.ts";
import { type Command, commandFamily } from "./command.ts";
import { configKeyCommand } from "./config_key.ts";
import { configPushCommand } from "./config_push.ts";
import { demoCommand } from "./demo.ts";
import { explainCommand } from "./explain.ts";
import { maintenanceCommand } from "./maintenance.ts";
import { cleanupCommand, moveCommand, standbyCommand, unstandbyCommand } from "./operator.ts";
import { runCommand } from "./run.ts";
import { simulateCommand } from "./simulate.ts";
import { statusCommand } from "./status.ts";
import { versionCommand } from "./version.ts";
import {
  volumeConnectCommand,
  volumeDiscardCommand,
  volumeDisconnectCommand,
  volumeVerifyCommand,
} from "./volume_operate.ts";
import { volumeCreateCommand, volumeStatusCommand } from "./volume.ts";
import { volumeResizeCommand } from "./volume_resize.ts";

/** What the program can do. */
export const commands: readonly Command[] = [
  runCommand,
  checkCommand,
  statusCommand,
  explainCommand,
  standbyCommand,
  unstandbyCommand,
  moveCommand,
  cleanupCommand,
  confirmOffCommand,
  maintenanceCommand,
  commandFamily("config", message`Manage what the nodes of a cluster share.`, [
    configKeyCommand,
    configPushCommand,
  ]),
  commandFamily("volume", message`Make and look at the replicas of this node.`, [
    volumeCreateCommand,
    volumeResizeCommand,
    volumeStatusCommand,
    volumeVerifyCommand,
    volumeConnectCommand,
    volumeDisconnectCommand,
    volumeDiscardCommand,
    volumePromoteCommand,
  ]),
  simulateCommand,
  demoCommand,
  versionCommand,
];
