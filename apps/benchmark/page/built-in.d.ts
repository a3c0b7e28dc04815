/** Made by the build: the state of the sources. */
declare const SEQMIX_COMMIT: string;
/** Made by the build: the version of the app. */
declare const SEQMIX_VERSION: string;
