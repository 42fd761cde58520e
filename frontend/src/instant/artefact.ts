// Runs an artefact over bars: the very bytes that the server runs, by the browser's own WebAssembly.

import { BAR_BYTES } from "./bars";
import { type Book, bookOf, EVENT_BYTES, type Fill, fillsOf } from "./trades";
import { parameterText, SCALE, units } from "./units";

// The words of a module's memory that name its log of events.
const LOG_POINTER = 16;
const LOG_COUNT = 20;
const LOG_LIMIT = 24;
const LOGGED = 65_536; // events that the log holds
const PAGE = 65_536;
const ALIGN = 64;
const HALTED = 2;
const CLOSES_BAR = 2;
const CLOSE = 32; // where a bar's record has it
const SECOND = 1_000_000_000n;
const NANOS_A_MS = 1_000_000n;
const SECONDS: Readonly<Record<string, bigint>> = {
  native: 0n,
  "1s": 1n,
  "5s": 5n,
  "15s": 15n,
  "1m": 60n,
  "5m": 300n,
  "15m": 900n,
  "30m": 1800n,
  "1h": 3600n,
  "4h": 14_400n,
  "1d": 86_400n,
};

/** Run settings by their names on the wire, as the server filled them in. */
export type Settings = Readonly<Record<string, string | boolean>>;

export interface Parameter {
  name: string;
  type: "int" | "float";
  default: number;
  min: number | null;
  max: number | null;
  step: number | null;
}

interface Manifest {
  stride: number;
  heap: number;
  fields: Record<string, [type: string, offset: number]>;
  nodes: { id: string; type: string }[];
  parameters: Parameter[];
  slots: Record<string, string[]>;
  /** By node and port the field of the row that keeps its value; none but in a probed build. */
  probes: [node: string, port: string, field: string][];
  events_per_bar: number;
}

interface Exports {
  memory: WebAssembly.Memory;
  prepare(row: number): void;
  bars(row: number, address: number, count: number, native: number): number;
  regroup(row: number, address: number, count: number): number;
}

/** A run: `equity` is at the close of each bar that it came to, `events` are the records of its log. */
export interface Run {
  parameters: Record<string, string>;
  equity: Float64Array<ArrayBuffer>;
  events: DataView<ArrayBuffer>;
}

export interface Port {
  node: string;
  port: string;
  /** The kind of the node. */
  type: string;
}

/** What numbers held at the close of each evaluated bar, NaN where unknown: a column a `node.port`, bars by their start. */
export interface Series {
  ms: Float64Array<ArrayBuffer>;
  columns: Record<string, Float64Array<ArrayBuffer>>;
}

export class UnsupportedError extends Error {}

export class Artefact {
  readonly manifest: Manifest;
  private readonly exports: Exports;
  private readonly row: number;
  private readonly log: number;
  private readonly input: number;
  private readonly count: number;
  private readonly closes: Float64Array;

  private constructor(module: WebAssembly.Module, instance: WebAssembly.Instance, bars: Uint8Array) {
    const section = WebAssembly.Module.customSections(module, "algotrade")[0];
    if (!section) throw new UnsupportedError("The module is no artefact.");
    this.manifest = JSON.parse(new TextDecoder().decode(section));
    this.exports = instance.exports as unknown as Exports;
    this.row = aligned(this.manifest.heap);
    this.log = aligned(this.row + this.manifest.stride);
    this.input = aligned(this.log + LOGGED * EVENT_BYTES);
    this.count = bars.length / BAR_BYTES;
    const { memory } = this.exports;
    memory.grow(Math.max(0, Math.ceil((this.input + bars.length - memory.buffer.byteLength) / PAGE)));
    new Uint8Array(memory.buffer).set(bars, this.input);
    const view = new DataView(bars.buffer, bars.byteOffset);
    const close = (bar: number) => Number(view.getBigInt64(bar * BAR_BYTES + CLOSE, true)) / SCALE;
    this.closes = Float64Array.from({ length: this.count }, (_, bar) => close(bar));
  }

  /** The numbers that a probed build keeps, in the order of the drawing. */
  get ports(): Port[] {
    const types = new Map(this.manifest.nodes.map(({ id, type }) => [id, type]));
    return this.manifest.probes
      .filter(([, , field]) => this.manifest.fields[field]?.[0] === "f64")
      .map(([node, port]) => ({ node, port, type: types.get(node) ?? "" }));
  }

  /** Takes a module and the bars that it is to run over, which stay in its memory. */
  static async load(bytes: Uint8Array<ArrayBuffer>, bars: Uint8Array): Promise<Artefact> {
    const { module, instance } = await WebAssembly.instantiate(bytes);
    return new Artefact(module, instance, bars);
  }

  run(settings: Settings, values: Readonly<Record<string, number>>): Run {
    const parameters = this.begin(settings, values);
    const { memory, bars, regroup } = this.exports;
    const step = settings.interval === "native" ? bars : regroup;
    const parts: Uint8Array[] = [];
    let done = 0;
    for (let view = new DataView(memory.buffer); done < this.count && this.mode(view) !== HALTED; ) {
      done += step(this.row, this.input + done * BAR_BYTES, this.count - done, 1);
      view = new DataView(memory.buffer);
      const size = view.getInt32(LOG_COUNT, true) * EVENT_BYTES;
      parts.push(new Uint8Array(memory.buffer.slice(this.log, this.log + size)));
      view.setInt32(LOG_COUNT, 0, true);
    }
    const events = joined(parts);
    return { parameters, events, equity: this.equity(fillsOf(events), units(String(settings.initial_cash)), done) };
  }

  /** The trades of a run. */
  book({ events }: Run): Book {
    return bookOf(events, this.manifest.nodes);
  }

  /** Steps a probed build bar by bar, and takes down what ports (`node.port`) held. */
  series(settings: Settings, values: Readonly<Record<string, number>>, wanted: readonly string[]): Series {
    this.begin(settings, values);
    const { memory, bars, regroup } = this.exports;
    const interval = Number((SECONDS[String(settings.interval)] ?? 0n) * 1000n);
    const step = interval ? regroup : bars;
    const view = new DataView(memory.buffer);
    const kept = this.manifest.probes.filter(([node, port]) => wanted.includes(`${node}.${port}`));
    const places = kept.map(([, , field]) => this.row + (this.manifest.fields[field]?.[1] ?? 0));
    const columns = kept.map(() => new Float64Array(this.count));
    const ms = new Float64Array(this.count);
    let evaluated = 0;
    for (let done = 0; done < this.count && this.mode(view) !== HALTED; done++) {
      const address = this.input + done * BAR_BYTES;
      step(this.row, address, 1, 1);
      view.setInt32(LOG_COUNT, 0, true);
      if (this.whole(view, "bars") === evaluated) continue;
      // A bar of a coarser interval closes with the first row behind it.
      const now = Number(view.getBigInt64(interval ? address - BAR_BYTES : address, true) / NANOS_A_MS);
      ms[evaluated] = interval ? Math.floor(now / interval) * interval : now;
      for (const [column, place] of places.entries()) {
        const values = columns[column];
        if (values) values[evaluated] = view.getFloat64(place, true);
      }
      evaluated++;
    }
    const named = kept.map(([node, port], column) => [
      `${node}.${port}`,
      columns[column]?.slice(0, evaluated) ?? new Float64Array(),
    ]);
    return { ms: ms.slice(0, evaluated), columns: Object.fromEntries(named) };
  }

  /** Makes the row that of a session before its first bar; the parameters as results have them. */
  private begin(settings: Settings, values: Readonly<Record<string, number>>): Record<string, string> {
    const { memory, prepare } = this.exports;
    const view = new DataView(memory.buffer);
    new Uint8Array(memory.buffer, this.row, this.manifest.stride).fill(0);
    for (const [field, value] of Object.entries(rowSettings(settings))) this.write(view, field, value);
    const texts: Record<string, string> = {};
    for (const { name, type, default: standard } of this.manifest.parameters) {
      const value = values[name] ?? standard;
      texts[name] = parameterText(value, type);
      for (const slot of this.manifest.slots[name] ?? []) {
        this.write(view, slot, slot.endsWith(":decimal") ? units(texts[name]) : value);
      }
    }
    prepare(this.row);
    view.setInt32(LOG_POINTER, this.log, true);
    view.setInt32(LOG_COUNT, 0, true);
    view.setInt32(LOG_LIMIT, LOGGED - this.manifest.events_per_bar * 8, true);
    return texts;
  }

  private write(view: DataView, field: string, value: number | bigint): void {
    const [type, offset] = this.manifest.fields[field] ?? ["", 0];
    if (type === "i64") view.setBigInt64(this.row + offset, BigInt(value), true);
    else if (type === "f64") view.setFloat64(this.row + offset, Number(value), true);
    else view.setInt32(this.row + offset, Number(value), true);
  }

  private mode(view: DataView): number {
    return this.whole(view, "mode");
  }

  private whole(view: DataView, field: string): number {
    return view.getInt32(this.row + (this.manifest.fields[field]?.[1] ?? 0), true);
  }

  /** Cash plus quantity times close, at each close. */
  private equity(fills: readonly Fill[], initialCash: bigint, count: number): Float64Array<ArrayBuffer> {
    const view = new DataView(this.exports.memory.buffer, this.input, this.count * BAR_BYTES);
    const equity = new Float64Array(count);
    let cash = Number(initialCash) / SCALE;
    let quantity = 0;
    let bar = 0;
    const upTo = (end: number) => {
      for (; bar < end; bar++) equity[bar] = cash + quantity * (this.closes[bar] ?? 0);
    };
    let from = 0; // the bar of the next fill is this or a later one
    for (const fill of fills) {
      while (from < count && view.getBigInt64(from * BAR_BYTES, true) < fill.ts) from++;
      upTo(from);
      cash = Number(fill.cash) / SCALE;
      quantity = Number(fill.quantity) / SCALE;
    }
    upTo(count);
    return equity;
  }
}

function rowSettings(settings: Settings): Record<string, number | bigint> {
  // Days of other zones need tables that the server brings along.
  if (settings.day_timezone !== "UTC") throw new UnsupportedError("In the browser days begin at midnight UTC only.");
  const seconds = SECONDS[String(settings.interval)];
  if (seconds === undefined) throw new UnsupportedError(`Bars cannot be run by ${settings.interval}.`);
  const amount = (name: string) => units(String(settings[name]));
  const native = settings.interval === "native";
  return {
    initial_cash: amount("initial_cash"),
    fee_bps: amount("fee_bps"),
    slippage_bps: amount("slippage_bps"),
    lot_step: amount("lot_step"),
    price_step: amount("price_step"),
    min_notional: amount("min_notional"),
    max_position_percent: amount("max_position_percent"),
    interval: seconds * SECOND,
    bar_length: native ? (amount("native_seconds") * SECOND) / BigInt(SCALE) : seconds * SECOND,
    fill_at_close: settings.fill === "close" ? 1 : 0,
    worst_path: settings.path === "worst" ? 1 : 0,
    allow_short: settings.allow_short ? 1 : 0,
    closes_mask: native ? CLOSES_BAR : 0,
  };
}

const aligned = (address: number) => Math.ceil(address / ALIGN) * ALIGN;

function joined(parts: Uint8Array[]): DataView<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new DataView(whole.buffer);
}
