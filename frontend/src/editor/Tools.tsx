import { ActionIcon, Badge, Button, FileButton, Group, Menu, TextInput, Tooltip } from "@mantine/core";
import { useReactFlow } from "@xyflow/react";
import type { ReactNode } from "react";
import { useLocation } from "wouter";
import { tellFailure } from "../api/tell";
import { download } from "../shell/download";
import { useFindings } from "./diagnostics";
import { readDrawing, textOf } from "./document";
import { arranged } from "./layout";
import { redo, undo, useEditor, useHistory } from "./store";

interface Props {
  strategyId: string;
  version: number;
  dirty: boolean;
  saving: boolean;
  save(): Promise<boolean>;
  showHistory(): void;
  addNote(): void;
}

export function Tools({ strategyId, version, dirty, saving, save, showHistory, addNote }: Props) {
  const name = useEditor((state) => state.name);
  const { rename, load, arrange, group, ungroup } = useEditor.getState();
  const framed = useEditor(({ groups }) => groups.some(({ selected }) => selected));
  const anyChosen = useEditor(({ nodes }) => nodes.some(({ selected }) => selected));
  const { canUndo, canRedo } = useHistory();
  const runs = useFindings(({ artefact, current }) => current && artefact !== undefined);
  const flow = useReactFlow();
  const [, go] = useLocation();

  async function tidy() {
    arrange(await arranged(useEditor.getState()));
    requestAnimationFrame(() => void flow.fitView({ duration: 300 }));
  }

  async function take(file: File | null) {
    if (!file) return;
    try {
      load(readDrawing(await file.text()));
    } catch (error) {
      tellFailure("Not imported", error);
    }
  }

  async function thenGo(path: string) {
    if (!dirty || (await save())) go(path);
  }

  return (
    <Group className="tools" gap="xs" wrap="nowrap" role="toolbar" aria-label="Drawing tools">
      <TextInput
        aria-label="Name of the strategy"
        value={name}
        onChange={(event) => rename(event.currentTarget.value, useEditor.getState().description)}
        w={220}
      />
      <Badge variant="light" color={dirty ? "yellow" : "teal"} miw={110} aria-live="polite">
        {dirty ? "unsaved" : `version ${version}`}
      </Badge>
      <Tool label="Undo (Ctrl+Z)" disabled={!canUndo} act={undo}>
        ↶
      </Tool>
      <Tool label="Redo (Ctrl+Shift+Z)" disabled={!canRedo} act={redo}>
        ↷
      </Tool>
      <Button variant="default" size="xs" onClick={() => void tidy()}>
        Arrange
      </Button>
      <Button variant="default" size="xs" onClick={addNote}>
        Note
      </Button>
      <Button
        variant="default"
        size="xs"
        disabled={!framed && !anyChosen}
        onClick={framed ? ungroup : group}
        title={framed ? "Ctrl+Shift+G" : "Ctrl+G"}
      >
        {framed ? "Ungroup" : "Group"}
      </Button>
      <Menu>
        <Menu.Target>
          <Button variant="default" size="xs">
            More
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={showHistory}>Versions …</Menu.Item>
          <FileButton accept="application/json,.json" onChange={(file) => void take(file)}>
            {(props) => (
              <Menu.Item {...props} closeMenuOnClick={false}>
                Import JSON …
              </Menu.Item>
            )}
          </FileButton>
          <Menu.Item
            onClick={() => download(`${name || "strategy"}.json`, textOf(useEditor.getState()), "application/json")}
          >
            Export JSON
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <div className="spring" />
      <Button size="xs" variant={dirty ? "filled" : "default"} loading={saving} onClick={() => void save()}>
        Save
      </Button>
      <Button size="xs" variant="light" disabled={!runs} onClick={() => void thenGo(`/backtests/new/${strategyId}`)}>
        Backtest
      </Button>
      <Button size="xs" variant="light" disabled={!runs} onClick={() => void thenGo(`/sessions/new/${strategyId}`)}>
        Trade on paper
      </Button>
    </Group>
  );
}

function Tool({
  label,
  disabled,
  act,
  children,
}: {
  label: string;
  disabled: boolean;
  act(): void;
  children: ReactNode;
}) {
  return (
    <Tooltip label={label}>
      <ActionIcon variant="default" aria-label={label} disabled={disabled} onClick={act}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}
