import { Button, Group, Modal, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { create } from "zustand";

const MOST_CHARS = 200;

interface Question {
  title: string;
  text: string;
  verb: string;
  /** What is to be written beside the answer. */
  label?: string;
  /** With what was written; undefined: no. */
  answer(said: string | undefined): void;
}

const useQuestion = create<{ open?: Question }>()(() => ({}));

/** Asks before something that cannot be taken back. */
export async function confirmed(title: string, text: string, verb: string): Promise<boolean> {
  return (await told(title, text, verb)) !== undefined;
}

/** Asks for words to go with something; undefined where it is not to be done. */
export function told(title: string, text: string, verb: string, label?: string): Promise<string | undefined> {
  return new Promise((answer) => useQuestion.setState({ open: { title, text, verb, label, answer } }));
}

export function Confirmation() {
  const open = useQuestion((state) => state.open);
  const [words, setWords] = useState("");
  const close = (said: string | undefined) => {
    open?.answer(said);
    setWords("");
    useQuestion.setState({ open: undefined });
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    close(words.trim());
  };
  return (
    <Modal opened={open !== undefined} onClose={() => close(undefined)} title={open?.title} centered>
      <form onSubmit={submit}>
        <Text mb="md">{open?.text}</Text>
        {open?.label && (
          <TextInput
            label={open.label}
            value={words}
            onChange={(event) => setWords(event.currentTarget.value)}
            maxLength={MOST_CHARS}
            required
            data-autofocus
            mb="md"
          />
        )}
        <Group justify="flex-end">
          <Button variant="default" onClick={() => close(undefined)}>
            Cancel
          </Button>
          <Button type="submit" color="red.8">
            {open?.verb}
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
