import type { RunSettings } from "../generated/algotrade/v1/types_pb";
import type { Settings } from "./artefact";

/** Settings by their names on the wire, which the hash of a result is over. */
export function settingsText(settings: RunSettings): Settings {
  return {
    interval: settings.interval,
    initial_cash: settings.initialCash,
    fee_bps: settings.feeBps,
    slippage_bps: settings.slippageBps,
    fill: settings.fill,
    lot_step: settings.lotStep,
    price_step: settings.priceStep,
    min_notional: settings.minNotional,
    max_position_percent: settings.maxPositionPercent,
    allow_short: settings.allowShort,
    path: settings.path,
    day_timezone: settings.dayTimezone,
    native_seconds: settings.nativeSeconds,
  };
}
