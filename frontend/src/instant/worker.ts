// Runs an artefact off the page's thread.

import { Artefact } from "./artefact";
import { resultHash } from "./hash";
import type { Answer, Order } from "./messages";

let loaded: { artefact: Artefact; artefactHash: string; dataHash: string } | undefined;

async function obey(order: Order): Promise<Answer> {
  if (order.kind === "load") {
    const { artefactHash, dataHash } = order;
    loaded = { artefact: await Artefact.load(order.module, order.bars), artefactHash, dataHash };
    return { kind: "loaded", parameters: loaded.artefact.manifest.parameters, ports: loaded.artefact.ports };
  }
  if (!loaded) throw new Error("nothing is loaded");
  if (order.kind === "series") {
    return { kind: "series", series: loaded.artefact.series(order.settings, order.values, order.wanted) };
  }
  const begun = performance.now();
  const run = loaded.artefact.run(order.settings, order.values);
  const milliseconds = performance.now() - begun;
  const hash = await resultHash(loaded.artefactHash, loaded.dataHash, order.settings, run);
  return { kind: "ran", number: order.number, result: { run, hash, milliseconds } };
}

self.onmessage = async ({ data }: MessageEvent<Order>) => {
  const answer = await obey(data).catch(
    (error): Answer => ({ kind: "failed", message: String(error.message ?? error) }),
  );
  self.postMessage(answer, { transfer: buffersOf(answer) });
};

function buffersOf(answer: Answer): ArrayBuffer[] {
  if (answer.kind === "ran") return [answer.result.run.equity.buffer];
  if (answer.kind !== "series") return [];
  return [answer.series.ms, ...Object.values(answer.series.columns)].map(({ buffer }) => buffer);
}
