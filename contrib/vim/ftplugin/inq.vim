" Rule files of steadyd: gq and = use the tool's own formatter.
if exists('b:did_ftplugin')
  finish
endif
let b:did_ftplugin = 1

setlocal commentstring=#\ %s comments=:#
setlocal shiftwidth=2 softtabstop=2 expandtab
if executable('steadyd')
  setlocal formatprg=steadyd\ fmt\ -
endif

let b:undo_ftplugin = 'setlocal commentstring< comments< shiftwidth< softtabstop< expandtab< formatprg<'
