"""The reference for every implementation: plain NumPy, float64, gradients derived by hand.

One module for each subject, in the symbols of the papers, that imports NumPy only. It is written to be read, not to be
fast, and only tests, benchmarks and `partae verify` use it.

    encode, decode, partitioned_loss    the ops, forward and backward
    philox, sampler                     the random crops and their mixtures
    initialisation, optimizers          initial weights, and steps of training
    embeddings, contrastive, affinity   losses of embeddings
    ratio_mask                          the loss of masks
    cdae                                networks that separate sources, and their masks
    train_steps                         whole steps, composed of the above
"""
