# Sourced in this folder: bin/ leads to where the programs are kept, so that another clone need not build them again.
mkdir -p "${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/bin"
ln -sfn "${EVENTFED_CACHE:-$HOME/.cache/eventfed}/kind/bin" bin
