import { Alert, Anchor, Center, Loader } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ReactFlowProvider } from "@xyflow/react";
import { useEffect, useMemo, useState } from "react";
import { strategies } from "../api/clients";
import { failureOf } from "../api/errors";
import type { Strategy } from "../generated/algotrade/v1/strategy_service_pb";
import { CatalogueContext } from "./catalogue";
import { readDrawing } from "./document";
import { forgetDraft, readDraft } from "./drafts";
import { open, useEditor } from "./store";
import { useNodeTypes } from "./useNodeTypes";
import { Workplace } from "./Workplace";

export function EditorPage({ strategyId }: { strategyId: string }) {
  const types = useNodeTypes();
  const saved = useQuery({
    queryKey: ["strategy", strategyId],
    queryFn: async () => (await strategies.getStrategy({ strategyId })).strategy,
    staleTime: 0,
    refetchOnWindowFocus: false,
  });
  const error = types.error ?? saved.error;
  if (error) return <Alert color="red">{failureOf(error).sentence}</Alert>;
  if (!types.data || !saved.data || saved.isFetching) {
    return (
      <Center h="60vh">
        <Loader aria-label="Loading" />
      </Center>
    );
  }
  return (
    <CatalogueContext value={types.data}>
      <ReactFlowProvider>
        <Opened key={strategyId} strategy={saved.data} />
      </ReactFlowProvider>
    </CatalogueContext>
  );
}

/** Opens the draft where there is one, else the newest version. */
function Opened({ strategy }: { strategy: Strategy }) {
  const [first] = useState(strategy);
  const [ready, setReady] = useState(false);
  const [drafted, setDrafted] = useState(false);
  const newest = useMemo(() => ({ ...readDrawing(first.graph), name: first.name }), [first]);
  useEffect(() => {
    const draft = readDraft(first.strategyId);
    open(newest);
    if (draft) useEditor.getState().load(draft);
    setDrafted(draft !== undefined);
    setReady(true);
  }, [first, newest]);
  if (!ready) return null;
  return (
    <>
      {drafted && (
        <Alert color="blue" p="xs" withCloseButton onClose={() => setDrafted(false)} closeButtonLabel="Close">
          This is your unsaved draft.{" "}
          <Anchor
            component="button"
            underline="always"
            onClick={() => {
              forgetDraft(first.strategyId);
              useEditor.getState().load(newest);
              setDrafted(false);
            }}
          >
            Go back to version {first.version}
          </Anchor>
        </Alert>
      )}
      <Workplace strategyId={first.strategyId} version={first.version} savedText={first.graph} />
    </>
  );
}
