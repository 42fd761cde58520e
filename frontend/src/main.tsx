import "@mantine/core/styles.css";
import "@mantine/notifications/styles.css";
import "./styles.css";
import { TransportProvider } from "@connectrpc/connect-query";
import { createTheme, Drawer, MantineProvider, Menu, Modal, Notification } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { resume } from "./account/login";
import { queries } from "./api/queries";
import { transport } from "./api/transport";

const closable = { closeButtonProps: { "aria-label": "Close" } };
const theme = createTheme({
  primaryColor: "blue",
  primaryShade: { light: 8, dark: 8 },
  defaultRadius: "sm",
  respectReducedMotion: true,
  components: {
    Notification: Notification.extend({
      defaultProps: closable,
      styles: { description: { color: "var(--mantine-color-dimmed)" } },
    }),
    // The placeholder is a child that a menu must not have; without it the first item is focused.
    Menu: Menu.extend({ defaultProps: { withInitialFocusPlaceholder: false } }),
    Modal: Modal.extend({ defaultProps: closable }),
    Drawer: Drawer.extend({ defaultProps: closable }),
  },
});

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} forceColorScheme="dark">
        <TransportProvider transport={transport}>
          <QueryClientProvider client={queries}>
            <Notifications position="bottom-right" />
            <App />
          </QueryClientProvider>
        </TransportProvider>
      </MantineProvider>
    </StrictMode>,
  );
}
void resume().catch(() => undefined); // who cannot be resumed logs in
