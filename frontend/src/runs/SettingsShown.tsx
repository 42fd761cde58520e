import { Group, Text } from "@mantine/core";
import type { RunSettings } from "../generated/algotrade/v1/types_pb";

interface Props {
  settings?: RunSettings;
  parameters: Readonly<Record<string, string>>;
  /** Where the prices are from, in words. */
  source: string;
}

/** What a result was made under, in a line beside it. */
export function SettingsShown({ settings, parameters, source }: Props) {
  if (!settings) return null;
  const facts = [
    ...Object.entries(parameters).map(([name, value]) => `${name} ${value}`),
    ...(source ? [source] : []),
    `bars ${settings.interval}`,
    `cash ${settings.initialCash}`,
    `fee ${settings.feeBps} bps`,
    `slippage ${settings.slippageBps} bps`,
    settings.fill === "close" ? "fills at the deciding close (optimistic)" : "fills at the next tick",
    `${settings.path} path`,
    settings.allowShort ? "may sell short" : "long only",
    `at most ${settings.maxPositionPercent} % of equity`,
  ];
  return (
    <Group gap={6} aria-label="Settings of the run">
      {facts.map((fact) => (
        <Text key={fact} span size="xs" className="fact">
          {fact}
        </Text>
      ))}
    </Group>
  );
}
