// Starts the platform on free ports and an empty directory, again whenever it ends by itself, as a supervisor would, and
// ends it behind the last test.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { venue } from "./venue";

declare module "vitest" {
  interface ProvidedContext {
    gateway: string;
    /** Where the platform keeps its data. */
    folder: string;
  }
}

export const PROGRAM = fileURLToPath(new URL("../../../.venv/bin/algotrade", import.meta.url));
const ANY_PORT = "127.0.0.1:0";
const MOST_STARTS = 5;

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), "at-"));
  const candles = await venue();
  let child = start(folder, ANY_PORT, candles.url);
  const gateway = await ready(child);
  project.provide("gateway", gateway);
  project.provide("folder", folder);
  let over = false;

  async function keep(): Promise<void> {
    for (let starts = 1; starts < MOST_STARTS; starts++) {
      await ended(child);
      if (over) return;
      child = start(folder, new URL(gateway).host, candles.url);
      await ready(child);
    }
  }

  const kept = keep();
  return async () => {
    over = true;
    child.kill("SIGTERM");
    await ended(child);
    await kept.catch(() => undefined); // a start that was cut short
    candles.close();
    rmSync(folder, { recursive: true, force: true });
  };
}

function start(folder: string, gatewayAddress: string, candlesUrl: string): ChildProcess {
  return spawn(PROGRAM, ["up", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      ALGOTRADE_DATA_DIR: folder,
      ALGOTRADE_GATEWAY_ADDRESS: gatewayAddress,
      ALGOTRADE_GRPC_ADDRESS: ANY_PORT,
      ALGOTRADE_HTTP_ADDRESS: ANY_PORT,
      ALGOTRADE_COINBASE_REST_URL: candlesUrl,
      ALGOTRADE_ENVOY_ADMIN_ADDRESS: ANY_PORT,
      ALGOTRADE_LOG_LEVEL: "error",
      ALGOTRADE_SHUTDOWN_GRACE_SECONDS: "1",
    },
  });
}

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => child.once("exit", () => done()));
}

async function ready(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error("the platform has no output");
  for await (const line of createInterface(child.stdout)) {
    if (!line.startsWith("{")) continue;
    const { event, gateway } = JSON.parse(line);
    if (event === "ready") {
      child.stdout.resume();
      return gateway;
    }
  }
  throw new Error("the platform ended before it was ready");
}
