// The past of a market as Coinbase Exchange tells it: up to 300 candles a call, the newest first, the end included.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const MOST = 300;

export async function venue(): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://venue");
    const known = /^\/products\/BTC-USD(\/candles)?$/.exec(pathname);
    response.statusCode = known ? 200 : 404;
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(known?.[1] ? candles(searchParams) : { id: "BTC-USD", message: "NotFound" }));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

/** Rows of [time, low, high, open, close, volume]. */
function candles(asked: URLSearchParams): number[][] {
  const step = Number(asked.get("granularity"));
  const [start, end] = ["start", "end"].map((name) => seconds(asked.get(name) ?? "")) as [number, number];
  const first = Math.ceil(start / step) * step;
  const count = Math.min(MOST, Math.floor((end - first) / step) + 1);
  return Array.from({ length: Math.max(0, count) }, (_, index) => candle(first + index * step, step)).reverse();
}

function candle(time: number, step: number): number[] {
  const price = (at: number) => Math.round(6_000_000 + 400_000 * Math.sin(at / step / 9)) / 100;
  const [open, close] = [price(time), price(time + step)];
  return [time, Math.min(open, close), Math.max(open, close), open, close, 1.5];
}

const seconds = (text: string) => (/^\d+$/.test(text) ? Number(text) : Date.parse(text) / 1000);
