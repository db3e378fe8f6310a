" Rule files of steadyd: checks at the margin, rules two blanks in, what goes on four.
if exists('b:did_indent')
  finish
endif
let b:did_indent = 1

setlocal indentexpr=InqIndent()
setlocal indentkeys=!^F,o,O,=check,=if,=then,=with,=expose
let b:undo_indent = 'setlocal indentexpr< indentkeys<'

if exists('*InqIndent')
  finish
endif

function InqIndent() abort
  let line = getline(v:lnum)
  if line =~# '^\s*check\>'
    return 0
  elseif line =~# '^\s*if\>'
    return 2
  elseif line =~# '^\s*\%(then\|with\|expose\)\>'
    return 4
  endif
  let before = prevnonblank(v:lnum - 1)
  if before == 0
    return 0
  endif
  return getline(before) =~# '^check\>' ? 2 : indent(before)
endfunction
