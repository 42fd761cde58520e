import { Group, Kbd, Modal, Stack, Text } from "@mantine/core";

const KEYS: readonly [string, string][] = [
  ["/", "Search the palette; Enter adds the first hit"],
  ["Ctrl S", "Save as the next version"],
  ["Ctrl Z", "Undo"],
  ["Ctrl Shift Z", "Redo"],
  ["Ctrl C, Ctrl V", "Copy and paste the chosen nodes"],
  ["Ctrl D", "Duplicate them"],
  ["Ctrl A", "Choose all"],
  ["Ctrl G", "Put the chosen nodes into a group"],
  ["Ctrl Shift G", "Dissolve the chosen group; take chosen nodes out of theirs"],
  ["Delete", "Delete what is chosen"],
  ["Shift drag", "Choose with a frame"],
  ["?", "This page"],
];

export function Help({ opened, close }: { opened: boolean; close(): void }) {
  return (
    <Modal opened={opened} onClose={close} title="Keyboard" centered>
      <Stack gap="xs">
        {KEYS.map(([keys, what]) => (
          <Group key={keys} justify="space-between" wrap="nowrap">
            <Kbd>{keys}</Kbd>
            <Text size="sm">{what}</Text>
          </Group>
        ))}
      </Stack>
    </Modal>
  );
}
