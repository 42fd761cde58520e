import { Accordion, Checkbox, Select, SimpleGrid, TextInput } from "@mantine/core";
import { FINE_FIELDS, INTERVALS, MAIN_FIELDS, type SettingField, type SettingsForm } from "./settings";

interface Props {
  value: SettingsForm;
  change(value: SettingsForm): void;
  /** Sentences of the server by field, such as `settings.fee_bps`. */
  errors?: Readonly<Record<string, string>>;
  intervals?: readonly string[];
}

export function SettingsFields({ value, change, errors = {}, intervals = INTERVALS }: Props) {
  const field = (one: SettingField) => (
    <Field
      key={one.key}
      field={one}
      value={value[one.key]}
      error={errors[`settings.${one.name}`]}
      set={(text) => change({ ...value, [one.key]: text })}
    />
  );
  return (
    <>
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
        <Select
          label="Bars of"
          description="How long a bar is; left out: as the data has them."
          data={[...intervals]}
          value={value.interval || null}
          placeholder="as the data"
          clearable
          clearButtonProps={{ "aria-label": "Take the data's" }}
          error={errors["settings.interval"]}
          onChange={(interval) => change({ ...value, interval: interval ?? "" })}
        />
        {MAIN_FIELDS.map(field)}
      </SimpleGrid>
      <Checkbox
        mt="sm"
        label="May sell short"
        checked={value.allowShort}
        error={errors["settings.allow_short"]}
        onChange={(event) => change({ ...value, allowShort: event.currentTarget.checked })}
      />
      <Accordion variant="contained" mt="sm">
        <Accordion.Item value="fine">
          <Accordion.Control>How orders fill, steps, days</Accordion.Control>
          <Accordion.Panel>
            <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
              {FINE_FIELDS.map(field)}
            </SimpleGrid>
          </Accordion.Panel>
        </Accordion.Item>
      </Accordion>
    </>
  );
}

interface FieldProps {
  field: SettingField;
  value: string;
  error?: string;
  set(text: string): void;
}

function Field({ field, value, error, set }: FieldProps) {
  const common = { label: field.label, description: field.help, error };
  if (field.choices) {
    const data = field.choices.map((choice) => ({ value: choice, label: choice.replaceAll("_", " ") }));
    return <Select {...common} data={data} allowDeselect={false} value={value} onChange={(text) => set(text ?? "")} />;
  }
  return (
    <TextInput
      {...common}
      inputMode="decimal"
      value={value}
      rightSection={field.unit}
      onChange={(event) => set(event.currentTarget.value)}
    />
  );
}
