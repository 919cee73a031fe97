"""The truth that every implementation is compared with: plain NumPy, float64, gradients derived by hand.

One module per subject, in the symbols of the papers; it imports NumPy alone. Tests, benchmarks and
`partae verify` read it, and nothing else does: it is written to be read, not to be fast.

    encode, decode, partitioned_loss    the ops, forward and backward
    philox, sampler                     the random crops and their mixtures
    initialisation, optimizers          where training starts and how it steps
    embeddings, contrastive, affinity   losses of embeddings
    ratio_mask                          the loss of masks
    cdae                                networks that separate sources, and their masks
    train_steps                         whole steps, composed of the above
"""
