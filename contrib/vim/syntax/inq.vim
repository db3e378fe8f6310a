" Rule files of steadyd. New words are contextual: before an operator or `:` they are metrics.
if exists('b:current_syntax')
  finish
endif

syntax case match
syntax iskeyword 33,36-39,42,43,45-57,61,63,@,@-@,94-96,123-126
syntax sync minlines=50

syntax match inqMetric /\k\+:\k\+/
syntax match inqMetric /\<\h\k*(\k\+)/
syntax match inqNumber /\<[+-]\=\d\+\%(\.\d\+\)\=\%([kmgtpKMGTP][bB]\=\|%\|ms\|s\|min\|h\|d\)\=\%(\/\%(sec\|min\|h\)\)\=\>/
syntax match inqTime /\<\d\d:\d\d\>/
syntax match inqOperator /[<>]=\=\|\<[!=]=/
syntax match inqEvent /\<\%(down\|crashed\|oom\|flapping\|alerted\)\>\%(\s*\%([<>:(]\|[!=]=\)\)\@!/
syntax match inqFunction /\<\%(avg\|min\|max\|p50\|p90\|p95\|p99\|delta\|rate\)\>\%(\s*\%([<>:(]\|[!=]=\)\)\@!/
syntax match inqJoint /\<\%(and\|or\|until\|between\|on\|of\|over\|will\|reach\|within\|after\|cycle\)\>\%(\s*\%(:\|[!=]=\)\)\@!/
syntax match inqJoint /\<not\>\%(\s*\%([<>:]\|[!=]=\)\|(\k\+)\s*[<>!=]\)\@!/
syntax match inqAction /\<\%(start\|stop\|signal\|exec\)\>\%(\s*\%([<>:(]\|[!=]=\)\)\@!/
syntax keyword inqAction reload restart
syntax match inqAction /\<alert\>/ nextgroup=inqRoute skipwhite
syntax match inqRoute /\<\%(if\|check\)\@!\k\+/ contained
syntax keyword inqKeyword service host with expose if then for cycles
syntax match inqKeyword /\<check\%(\_s\+jobs\)\=\>/
syntax match inqJoint /\<\%(happens\_s\+every\|minutes\=\|hours\=\|days\=\)\>\%(\s*\%([<>:(]\|[!=]=\)\)\@!/
syntax region inqString start=/"/ skip=/\\./ end=/"/
syntax match inqTodo /\<\%(TODO\|FIXME\|XXX\)\>/ contained
syntax match inqComment /#.*$/ contains=inqTodo,@Spell

highlight default link inqKeyword Statement
highlight default link inqJoint Conditional
highlight default link inqAction Function
highlight default link inqRoute Tag
highlight default link inqEvent Special
highlight default link inqFunction Special
highlight default link inqMetric Identifier
highlight default link inqNumber Number
highlight default link inqTime Number
highlight default link inqOperator Operator
highlight default link inqString String
highlight default link inqComment Comment
highlight default link inqTodo Todo

let b:current_syntax = 'inq'
