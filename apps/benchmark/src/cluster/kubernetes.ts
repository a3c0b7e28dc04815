/** A sweep as an Indexed Job for Kubernetes, one pod a shard. */
import type { Job } from "kubernetes-types/batch/v1.js";
import { argumentsOf, quoted, type ClusterWork } from "./work.js";

/** What only Kubernetes needs to know. */
export interface KubernetesOptions {
  /** The image, made with the Dockerfile that `submit` writes. */
  readonly image: string;
  /** Persistent volume claim that holds the results, to be written by many pods. */
  readonly claim: string;
  readonly namespace?: string;
  /** Pods that may run at once. */
  readonly parallel?: number;
}

/** Where the claim is mounted. */
const RESULTS = "/results";

/** The manifest. A pod that is evicted is started again and goes on: what is finished is skipped. */
export function kubernetesJob(work: ClusterWork, { image, claim, namespace, parallel }: KubernetesOptions): Job {
  const inPod = { ...work, out: `${RESULTS}/${work.name}-${work.scale}` };
  const command = argumentsOf(inPod, "@INDEX@")
    .map(quoted)
    .join(" ")
    .replaceAll("@INDEX@", "$((JOB_COMPLETION_INDEX + 1))");
  const resources = { cpu: String(work.cpus), memory: `${work.memory}Gi` };
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: `seqmix-${work.name}-${work.scale}`,
      ...(namespace !== undefined && { namespace }),
      labels: { "app.kubernetes.io/name": "seqmix" },
    },
    spec: {
      completionMode: "Indexed",
      completions: work.shards,
      parallelism: parallel ?? work.shards,
      backoffLimitPerIndex: 3,
      template: {
        spec: {
          restartPolicy: "Never",
          // A trial is saved within seconds of being asked to stop.
          terminationGracePeriodSeconds: 60,
          containers: [
            {
              name: "trials",
              image,
              command: ["/bin/sh", "-c", `exec node apps/benchmark/dist/cli.js ${command}`],
              resources: {
                requests: resources,
                limits: { memory: `${work.memory}Gi`, ...(work.gpus > 0 && { "nvidia.com/gpu": String(work.gpus) }) },
              },
              volumeMounts: [{ name: "results", mountPath: RESULTS }],
            },
          ],
          volumes: [{ name: "results", persistentVolumeClaim: { claimName: claim } }],
        },
      },
    },
  };
}

/** A Dockerfile for the image, to be built in the repository's root. @param gpu With what WebGPU needs of an NVIDIA GPU. */
export const dockerfile = (gpu: boolean): string => `FROM node:20-bookworm-slim
${
  gpu
    ? `# The Vulkan loader; the driver comes with the NVIDIA container runtime.
RUN apt-get update && apt-get install -y --no-install-recommends libvulkan1 libegl1 && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility
`
    : ""
}WORKDIR /seqmix
COPY . .
ARG SEQMIX_COMMIT=unknown
ENV SEQMIX_COMMIT=$SEQMIX_COMMIT
RUN npx --yes pnpm@10.34.9 install --frozen-lockfile && npx tsc -b apps/benchmark${gpu ? " packages/webgpu" : ""}
ENTRYPOINT ["node", "apps/benchmark/dist/cli.js"]
`;
