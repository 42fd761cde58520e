import { useQuery } from "@connectrpc/connect-query";
import { NumberInput, Select, SimpleGrid } from "@mantine/core";
import { useQuery as useFetched } from "@tanstack/react-query";
import { strategies } from "../api/clients";
import { type Parameter, readDrawing } from "../editor/document";
import { StrategyService } from "../generated/algotrade/v1/strategy_service_pb";

const NONE: readonly Parameter[] = [];

export type Values = Record<string, number>;

interface Props {
  strategyId: string;
  choose(strategyId: string): void;
  values: Values;
  change(values: Values): void;
  errors?: Readonly<Record<string, string>>;
}

/** Which strategy runs, and its named parameters. */
export function StrategyFields({ strategyId, choose, values, change, errors = {} }: Props) {
  const list = useQuery(StrategyService.method.listStrategies, { pageSize: 200 });
  const parameters = useNamedParameters(strategyId);
  const runnable = list.data?.strategies.filter((one) => one.artefactHash) ?? [];
  return (
    <>
      <Select
        label="Strategy"
        data={runnable.map((one) => ({ value: one.strategyId, label: `${one.name} (version ${one.version})` }))}
        value={strategyId || null}
        onChange={(id) => choose(id ?? "")}
        error={errors["saved.strategy_id"]}
        searchable
        required
      />
      <SimpleGrid cols={{ base: 2, sm: 4 }} mt="xs" spacing="sm">
        {parameters.map((parameter) => (
          <NumberInput
            key={parameter.name}
            label={parameter.name}
            min={parameter.min}
            max={parameter.max}
            step={parameter.step}
            allowDecimal={parameter.type === "float"}
            error={errors[`parameters.${parameter.name}`]}
            value={values[parameter.name] ?? parameter.default}
            onChange={(value) => typeof value === "number" && change({ ...values, [parameter.name]: value })}
          />
        ))}
      </SimpleGrid>
    </>
  );
}

/** The named parameters of a saved strategy's newest version. */
export function useNamedParameters(strategyId: string): readonly Parameter[] {
  const { data } = useFetched({
    queryKey: ["strategies", strategyId, "parameters"],
    queryFn: async () => readDrawing((await strategies.getStrategy({ strategyId })).strategy?.graph ?? "").parameters,
    enabled: strategyId !== "",
  });
  return data ?? NONE;
}

export const texts = (values: Values) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
