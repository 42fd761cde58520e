// The walk through a real platform: `algotrade up`, Envoy, Chromium. `make test` runs it.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["tests/e2e/*.e2e.ts"],
    globalSetup: "tests/e2e/platform.ts",
    fileParallelism: false,
    bail: 1, // each step needs the one before
    testTimeout: 180_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } }, // the machine may be busy
  },
});
