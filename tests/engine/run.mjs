// A host for artefacts in plain JavaScript: the same bytes, another engine, no code shared with the Python host.
//
// Reads jobs [{module, bars, settings, parameters}] as JSON from standard input: `module` and `bars` are files, settings
// are decimal strings by name. Writes [{hash, events, row}] to standard output: SHA-256 of the module, the event records
// in base64, and the session's row of state at the end in base64.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const LOG_POINTER = 16, LOG_COUNT = 20, LOG_LIMIT = 24; // the three words of a module's memory that name its event log
const EVENT_BYTES = 104, BAR_BYTES = 48, EVENTS = 65_536, PAGE = 65_536;
const SECONDS = { "1s": 1, "5s": 5, "15s": 15, "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400 };

/** A decimal string as a whole number of 1e-8. */
function units(text) {
  const [whole, fraction = ""] = String(text).split(".");
  return BigInt(whole + fraction.padEnd(8, "0"));
}

/** Values of the row's settings fields. Only UTC: zone tables are data that a host brings along. */
function rowSettings(settings) {
  if (settings.day_timezone !== "UTC") throw new Error("this host knows UTC only");
  const names = ["initial_cash", "fee_bps", "slippage_bps", "lot_step", "price_step", "min_notional", "max_position_percent"];
  const values = Object.fromEntries(names.map((name) => [name, units(settings[name])]));
  values.interval = BigInt(SECONDS[settings.interval] ?? 0) * 1_000_000_000n;
  values.bar_length = settings.interval === "native" ? units(settings.native_seconds) * 10n : values.interval;
  values.fill_at_close = settings.fill === "close" ? 1 : 0;
  values.worst_path = settings.path === "worst" ? 1 : 0;
  values.allow_short = settings.allow_short ? 1 : 0;
  values.closes_mask = settings.interval === "native" ? 2 : 0;
  return values;
}

function run({ module: path, bars: barsPath, settings, parameters }) {
  const bytes = readFileSync(path), bars = readFileSync(barsPath), count = bars.length / BAR_BYTES;
  const module = new WebAssembly.Module(bytes);
  const manifest = JSON.parse(new TextDecoder().decode(WebAssembly.Module.customSections(module, "algotrade")[0]));
  const { memory, ...exports } = new WebAssembly.Instance(module).exports;

  const row = manifest.heap, log = row + manifest.stride + 64, input = log + EVENTS * EVENT_BYTES;
  memory.grow(Math.max(0, Math.ceil((input + bars.length - memory.buffer.byteLength) / PAGE)));
  const view = new DataView(memory.buffer), raw = new Uint8Array(memory.buffer);
  const write = (field, value) => {
    const [type, offset] = manifest.fields[field];
    if (type === "i64") view.setBigInt64(row + offset, value, true);
    else if (type === "f64") view.setFloat64(row + offset, value, true);
    else view.setInt32(row + offset, value, true);
  };

  for (const [field, value] of Object.entries(rowSettings(settings))) write(field, value);
  for (const { name, default: standard } of manifest.parameters) {
    const value = parameters[name] ?? standard;
    for (const slot of manifest.slots[name]) write(slot, slot.endsWith(":decimal") ? units(value) : Number(value));
  }
  exports.prepare(row);

  view.setInt32(LOG_POINTER, log, true);
  view.setInt32(LOG_LIMIT, EVENTS - manifest.events_per_bar * 8, true);
  raw.set(bars, input);
  const events = [], step = settings.interval === "native" ? exports.bars : exports.regroup; // the latter ignores the 1
  for (let done = 0, taken; done < count; done += taken) {
    taken = step(row, input + done * BAR_BYTES, count - done, 1);
    const bytes = view.getInt32(LOG_COUNT, true) * EVENT_BYTES;
    events.push(Buffer.from(raw.slice(log, log + bytes)));
    view.setInt32(LOG_COUNT, 0, true);
    if (view.getInt32(row + manifest.fields.mode[1], true) === 2) break; // halted
  }
  return {
    hash: createHash("sha256").update(bytes).digest("hex"),
    events: Buffer.concat(events).toString("base64"),
    row: Buffer.from(raw.slice(row, row + manifest.stride)).toString("base64"),
  };
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(run)));
