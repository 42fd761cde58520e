import { notifications } from "@mantine/notifications";
import { failureOf } from "./errors";

export function tellFailure(title: string, error: unknown): void {
  notifications.show({ color: "red", title, message: failureOf(error).sentence });
}

export function tell(title: string, message = ""): void {
  notifications.show({ color: "teal", title, message });
}
