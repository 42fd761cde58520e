import { Center, Loader } from "@mantine/core";
import { lazy, Suspense } from "react";
import { Redirect, Route, Router, Switch } from "wouter";
import { useHashLocation } from "wouter/use-hash-location";
import { LoginPage } from "./account/LoginPage";
import { useLogin } from "./api/tokens";
import { Shell } from "./shell/Shell";
import { StrategiesPage } from "./strategies/StrategiesPage";

const EditorPage = lazy(() => import("./editor/EditorPage").then((module) => ({ default: module.EditorPage })));

const waiting = (
  <Center h="60vh">
    <Loader aria-label="Loading" />
  </Center>
);

export function App() {
  const { user, settled } = useLogin();
  if (!settled) return waiting;
  if (!user) return <LoginPage />;
  return (
    <Router hook={useHashLocation}>
      <Shell>
        <Suspense fallback={waiting}>
          <Switch>
            <Route path="/strategies" component={StrategiesPage} />
            <Route path="/strategies/:id">{({ id }) => <EditorPage key={id} strategyId={id} />}</Route>
            <Route>
              <Redirect to="/strategies" replace />
            </Route>
          </Switch>
        </Suspense>
      </Shell>
    </Router>
  );
}
