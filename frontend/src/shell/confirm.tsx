import { Button, Group, Modal, Text } from "@mantine/core";
import { create } from "zustand";

interface Question {
  title: string;
  text: string;
  verb: string;
  answer(yes: boolean): void;
}

const useQuestion = create<{ open?: Question }>()(() => ({}));

/** Asks before something that cannot be taken back. */
export function confirmed(title: string, text: string, verb: string): Promise<boolean> {
  return new Promise((answer) => useQuestion.setState({ open: { title, text, verb, answer } }));
}

export function Confirmation() {
  const open = useQuestion((state) => state.open);
  const close = (yes: boolean) => {
    open?.answer(yes);
    useQuestion.setState({ open: undefined });
  };
  return (
    <Modal opened={open !== undefined} onClose={() => close(false)} title={open?.title} centered>
      <Text mb="md">{open?.text}</Text>
      <Group justify="flex-end">
        <Button variant="default" onClick={() => close(false)}>
          Cancel
        </Button>
        <Button color="red.8" onClick={() => close(true)}>
          {open?.verb}
        </Button>
      </Group>
    </Modal>
  );
}
