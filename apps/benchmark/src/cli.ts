// Replaced by the command line of the ablation app.
console.log("seqmix-bench: nothing to run yet");
