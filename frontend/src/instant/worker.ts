// Runs an artefact off the page's thread: of each run first its curve, and the rest once no other run follows.

import { Artefact, type Run, type Settings } from "./artefact";
import { resultHash } from "./hash";
import type { Answer, Order } from "./messages";

const RESTED_MS = 250; // a hand that moves on wants the next curve first

interface Loaded {
  artefact: Artefact;
  artefactHash: string;
  dataHash: string;
}

let loaded: Loaded | undefined;
let newest = 0; // of the runs that were asked for

async function obey(order: Order): Promise<void> {
  if (order.kind === "load") {
    const { artefactHash, dataHash } = order;
    loaded = { artefact: await Artefact.load(order.module, order.bars), artefactHash, dataHash };
    const { manifest, ports } = loaded.artefact;
    return tell({ kind: "loaded", parameters: manifest.parameters, ports });
  }
  if (!loaded) throw new Error("nothing is loaded");
  const { artefact } = loaded;
  if (order.kind === "series") {
    const series = artefact.series(order.settings, order.values, order.wanted);
    const columns = [series.ms, ...Object.values(series.columns)];
    return tell(
      { kind: "series", series },
      columns.map(({ buffer }) => buffer),
    );
  }
  const { number, settings } = order;
  newest = number;
  const begun = performance.now();
  const run = artefact.run(settings, order.values);
  const milliseconds = performance.now() - begun;
  const { parameters, equity } = run;
  tell({ kind: "curve", curve: { parameters, equity, milliseconds } }, [equity.buffer]);
  await new Promise((resolve) => setTimeout(resolve, RESTED_MS));
  if (number === newest) await tellRest(loaded, settings, run);
}

async function tellRest({ artefact, artefactHash, dataHash }: Loaded, settings: Settings, run: Run): Promise<void> {
  const book = artefact.book(run);
  const hash = await resultHash(artefactHash, dataHash, settings, run.parameters, book.trades);
  tell({ kind: "ran", book, hash });
}

const tell = (answer: Answer, transfer: ArrayBuffer[] = []) => self.postMessage(answer, { transfer });

self.onmessage = ({ data }: MessageEvent<Order>) => {
  obey(data).catch((error) => tell({ kind: "failed", message: String(error.message ?? error) }));
};
