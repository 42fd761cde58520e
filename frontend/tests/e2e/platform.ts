// Starts the platform on free ports and an empty directory, and ends it behind the last test.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    gateway: string;
  }
}

const PROGRAM = fileURLToPath(new URL("../../../.venv/bin/algotrade", import.meta.url));
const ANY_PORT = "127.0.0.1:0";

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), "at-"));
  const child = spawn(PROGRAM, ["up", "--json"], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      ALGOTRADE_DATA_DIR: folder,
      ALGOTRADE_GATEWAY_ADDRESS: ANY_PORT,
      ALGOTRADE_GRPC_ADDRESS: ANY_PORT,
      ALGOTRADE_HTTP_ADDRESS: ANY_PORT,
      ALGOTRADE_ENVOY_ADMIN_ADDRESS: ANY_PORT,
      ALGOTRADE_LOG_LEVEL: "error",
    },
  });
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  project.provide("gateway", await ready(child));
  return async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
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
