// What the server's compiler says of the drawing, as one types.

import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { create } from "zustand";
import { strategies } from "../api/clients";
import type { Artefact } from "../generated/algotrade/v1/strategy_service_pb";
import type { Diagnostic } from "../generated/algotrade/v1/types_pb";

const TYPING_MS = 400;

interface Findings {
  all: Diagnostic[];
  byNode: ReadonlyMap<string, Diagnostic[]>;
  artefact?: Artefact;
  /** Whether the findings are of the drawing as it is now. */
  current: boolean;
}

export const useFindings = create<Findings>()(() => ({ all: [], byNode: new Map(), current: false }));

/** Has a drawing's text checked whenever it has rested for a moment. */
export function useChecked(text: string): void {
  const [settled] = useDebouncedValue(text, TYPING_MS);
  const { data } = useQuery({
    queryKey: ["validate", settled],
    queryFn: ({ signal }) => strategies.validateStrategy({ graph: settled }, { signal }),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
  });
  useEffect(() => {
    if (!data) {
      useFindings.setState({ current: false });
      return;
    }
    useFindings.setState({
      all: data.diagnostics,
      byNode: Map.groupBy(data.diagnostics, (finding) => finding.nodeId),
      artefact: data.artefact,
      current: settled === text,
    });
  }, [data, settled, text]);
}
