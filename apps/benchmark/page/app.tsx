/** The page around its views. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { formatAddress, parseAddress, views, type Address, type View } from "./address.js";
import { DualityView } from "./duality/duality-view.js";
import { MemoryView } from "./hippo/memory-view.js";
import { StateView } from "./state/state-view.js";
import { useResults } from "./training/use-results.js";
import { useTraining } from "./training/use-training.js";
import { TrainView } from "./training/train-view.js";

const titles: Readonly<Record<View, string>> = {
  train: "Train",
  state: "Look into a state",
  memory: "HiPPO memory",
  duality: "Duality",
};

/** All views; training goes on while another one is looked at. */
export function App() {
  const [address, setAddress] = useState<Address>(() => parseAddress(location.hash));
  const training = useTraining(address.device);
  useEffect(() => {
    const read = (): void => setAddress(parseAddress(location.hash));
    addEventListener("hashchange", read);
    return () => removeEventListener("hashchange", read);
  }, []);
  /** Shows another address without a step in the history. */
  const replace = (change: Partial<Address>): void => {
    const next = { ...address, ...change };
    history.replaceState(null, "", formatAddress(next));
    setAddress(next);
  };
  const showResults = useCallback(() => {
    location.hash = formatAddress({ ...parseAddress(location.hash), view: "train" });
  }, []);
  const results = useResults(showResults);
  return (
    <>
      <header>
        <h1>seqmix</h1>
        <p>Sequence architectures side by side, trained and looked into in this page. Nothing leaves it.</p>
        <nav aria-label="Views">
          {views.map((view) => (
            <a
              key={view}
              href={formatAddress({ ...address, view })}
              aria-current={view === address.view ? "page" : undefined}
            >
              {titles[view]}
            </a>
          ))}
        </nav>
      </header>
      <main>
        {address.view === "train" && (
          <TrainView address={address} replace={replace} training={training} results={results} />
        )}
        {address.view === "state" && <StateView training={training} />}
        {address.view === "memory" && <MemoryView />}
        {address.view === "duality" && <DualityView />}
      </main>
    </>
  );
}
