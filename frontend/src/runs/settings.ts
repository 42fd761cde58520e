// The rules of a run, as a form has them: texts by the names on the wire. What is empty takes the server's default.

export interface SettingField {
  name: string;
  /** Its name in the message. */
  key: keyof typeof DEFAULTS;
  label: string;
  help: string;
  unit?: string;
  choices?: readonly string[];
}

export const DEFAULTS = {
  interval: "",
  initialCash: "10000",
  feeBps: "10",
  slippageBps: "0",
  fill: "next_tick",
  lotStep: "0.00000001",
  priceStep: "0.00000001",
  minNotional: "0",
  maxPositionPercent: "100",
  path: "tradingview",
  dayTimezone: "UTC",
};

export type SettingsForm = typeof DEFAULTS & { allowShort: boolean };

export const emptySettings = (): SettingsForm => ({ ...DEFAULTS, allowShort: false });

export const INTERVALS = ["native", "1s", "5s", "15s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"] as const;

export const MAIN_FIELDS: readonly SettingField[] = [
  { name: "initial_cash", key: "initialCash", label: "Cash at the start", help: "Simulated money." },
  {
    name: "fee_bps",
    key: "feeBps",
    label: "Fee",
    unit: "bps",
    help: "Of the traded value, in hundredths of a percent.",
  },
  { name: "slippage_bps", key: "slippageBps", label: "Slippage", unit: "bps", help: "Of market orders and stops." },
  { name: "max_position_percent", key: "maxPositionPercent", label: "Largest position", unit: "%", help: "Of equity." },
];

export const FINE_FIELDS: readonly SettingField[] = [
  {
    name: "fill",
    key: "fill",
    label: "Market orders fill",
    help: "At the next tick, or at the close that decided: optimistic.",
    choices: ["next_tick", "close"],
  },
  {
    name: "path",
    key: "path",
    label: "Path inside a bar",
    help: "Which extreme comes first: the nearer, or the worse for the position.",
    choices: ["tradingview", "worst"],
  },
  { name: "lot_step", key: "lotStep", label: "Lot step", help: "Quantities are multiples of it." },
  { name: "price_step", key: "priceStep", label: "Price step", help: "Prices are multiples of it." },
  { name: "min_notional", key: "minNotional", label: "Least order", help: "Least value of an order." },
  { name: "day_timezone", key: "dayTimezone", label: "Day begins in", help: "A name of the tz database." },
];
