import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { strategies } from "../api/clients";
import { tellFailure } from "../api/tell";
import { useEditor } from "./store";

/** Saves the drawing as the next version. `kept` is the text of the newest. */
export function useSave(strategyId: string, first: number, firstText: () => string) {
  const [version, setVersion] = useState(first);
  const [kept, setKept] = useState(firstText);
  const [saving, setSaving] = useState(false);
  const queries = useQueryClient();

  async function save(graph: string): Promise<boolean> {
    setSaving(true);
    try {
      const { name, description } = useEditor.getState();
      const { strategy } = await strategies.updateStrategy({
        requestId: crypto.randomUUID(),
        strategyId,
        updateMask: { paths: ["name", "description", "graph"] },
        name,
        description,
        graph,
      });
      setVersion(strategy?.version ?? version);
      setKept(graph);
      void queries.invalidateQueries({
        predicate: ({ queryKey }) => queryKey[0] === "strategies" || queryKey[0] === "connect-query",
      });
      return true;
    } catch (error) {
      tellFailure("Not saved", error);
      return false;
    } finally {
      setSaving(false);
    }
  }

  return { save, saving, version, kept };
}
