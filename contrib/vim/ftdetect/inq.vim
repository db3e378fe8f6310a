autocmd BufRead,BufNewFile *.inq setfiletype inq
