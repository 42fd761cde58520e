import { Alert } from "@mantine/core";
import { useEffect, useState } from "react";
import { momentMs } from "../api/format";
import { useRealtime } from "../realtime/store";
import { usePreferences } from "./preferences";

const PATIENCE_MS = 1500; // a line that comes back sooner is nothing to tell

/** Says that what is on the screen is not news. */
export function OfflineBanner() {
  const { line, sinceMs } = useRealtime();
  const zone = usePreferences((state) => state.zone);
  const [told, setTold] = useState(false);
  useEffect(() => {
    setTold(false);
    if (line !== "cut") return;
    const timer = setTimeout(() => setTold(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [line]);
  if (!told) return null;
  return (
    <Alert color="yellow" p="xs" role="status">
      No line to the platform since {momentMs(sinceMs, zone)}. What you see is from then; it goes on by itself, without
      a hole. Sessions trade on meanwhile.
    </Alert>
  );
}
