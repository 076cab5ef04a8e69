/* Small tokenizer.json files, texts and their ids, as the tokenizers library (0.13) gives them with
 * special tokens added. ' stands for ". */
#ifndef TESTS_TOK_CASES_H
#define TESTS_TOK_CASES_H

/* clang-format off */
static const struct {
    const char *name, *json;
    struct {
        const char *text, *ids;
    } text[4];
} tok_cases[] = {
    {"byte level",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'ByteLevel',"
     "'add_prefix_space':false,'use_regex':true,'trim_offsets':true},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"hello w12.", "9 10 14 13"},
      {"h\xC3\xA9", "0 15 16"},
      {" w\n", "10 17"}}},
    {"byte level, a space in front",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'ByteLevel',"
     "'add_prefix_space':true,'use_regex':true,'trim_offsets':true},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"w", "10"},
      {" w", "10"}}},
    {"digits one by one",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Sequence',"
     "'pretokenizers':[{'type':'Digits','individual_digits':true},"
     "{'type':'ByteLevel','add_prefix_space':false,'use_regex':false,"
     "'trim_offsets':true}]},'post_processor':null,'decoder':null,"
     "'model':{'type':'BPE','vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,"
     "'w':5,'he':6,'ll':7,'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,"
     "'.':13,'12':14,'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e',"
     "'l l','he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"1212", "11 12 11 12"}}},
    {"a pattern of its own",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Sequence',"
     "'pretokenizers':[{'type':'Split','pattern':{'Regex':'l(?=l)|\\\\s+'},"
     "'behavior':'Removed','invert':false},{'type':'ByteLevel',"
     "'add_prefix_space':false,'use_regex':false,'trim_offsets':true}]},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"hello hello", "6 2 3 6 2 3"}}},
    {"merged with next",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Sequence',"
     "'pretokenizers':[{'type':'Split','pattern':{'String':'l'},"
     "'behavior':'MergedWithNext','invert':false},{'type':'ByteLevel',"
     "'add_prefix_space':false,'use_regex':false,'trim_offsets':true}]},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"hello", "6 2 2 3"}}},
    {"merged with previous",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Sequence',"
     "'pretokenizers':[{'type':'Split','pattern':{'String':'h'},"
     "'behavior':'MergedWithPrevious','invert':false},{'type':'ByteLevel',"
     "'add_prefix_space':false,'use_regex':false,'trim_offsets':true}]},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"hwhello", "0 5 0 1 7 3"}}},
    {"added tokens",
     "{'version':'1.0','added_tokens':[{'id':20,'content':'<x>',"
     "'single_word':false,'lstrip':true,'rstrip':true,'normalized':false,"
     "'special':false},{'id':8,'content':'hell','single_word':true,"
     "'lstrip':false,'rstrip':false,'normalized':false,'special':false},"
     "{'id':21,'content':'<s>','single_word':false,'lstrip':false,"
     "'rstrip':false,'normalized':false,'special':true}],'normalizer':null,"
     "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false,"
     "'use_regex':true,'trim_offsets':true},'post_processor':null,"
     "'decoder':null,'model':{'type':'BPE','vocab':{'h':0,'e':1,"
     "'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,'hell':8,'hello':9,"
     "'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,"
     "'a':18,'hw':19},'merges':['h e','l l','he ll','hell o','\xC4\xA0 w',"
     "'1 2','h w']}}",
     {{"h  <x> \nhello hell", "0 20 9 4 8"},
      {"<s>h", "21 0"}}},
    {"NFC and case",
     "{'version':'1.0','added_tokens':[],'normalizer':{'type':'Sequence',"
     "'normalizers':[{'type':'NFC'},{'type':'Lowercase'}]},'pre_tokenizer':{'type':'ByteLevel',"
     "'add_prefix_space':false,'use_regex':true,'trim_offsets':true},"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'vocab':{'h':0,'e':1,'l':2,'o':3,'\xC4\xA0':4,'w':5,'he':6,'ll':7,"
     "'hell':8,'hello':9,'\xC4\xA0w':10,'1':11,'2':12,'.':13,'12':14,"
     "'\xC3\x83':15,'\xC2\xA9':16,'\xC4\x8A':17,'a':18,'hw':19},'merges':['h e','l l',"
     "'he ll','hell o','\xC4\xA0 w','1 2','h w']}}",
     {{"HELLO E\xCC\x81", "9 4 15 16"}}},
    {"characters, bytes for the rest",
     "{'version':'1.0','added_tokens':[],'normalizer':{'type':'Sequence',"
     "'normalizers':[{'type':'Prepend','prepend':'\xE2\x96\x81'},{'type':'Replace',"
     "'pattern':{'String':' '},'content':'\xE2\x96\x81'}]},'pre_tokenizer':null,"
     "'post_processor':null,'decoder':null,'model':{'type':'BPE',"
     "'unk_token':'<unk>','fuse_unk':true,'byte_fallback':true,"
     "'vocab':{'<unk>':0,'<0xC3>':1,'<0xA9>':2,'\xE2\x96\x81':3,'h':4,'e':5,"
     "'l':6,'o':7,'he':8,'ll':9,'\xE2\x96\x81he':10,'\xE2\x96\x81hello':11,'llo':12},"
     "'merges':['h e','l l','\xE2\x96\x81 he','ll o','\xE2\x96\x81he llo']}}",
     {{"hello hello", "11 11"},
      {"h\xC3\xA9\xC3\xA8\xC3\xA8", "3 4 1 2 0"},
      {"", ""}}},
    {"Metaspace",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Metaspace',"
     "'replacement':'\xE2\x96\x81','add_prefix_space':true},'post_processor':null,"
     "'decoder':null,'model':{'type':'BPE','unk_token':'<unk>',"
     "'fuse_unk':true,'byte_fallback':true,'vocab':{'<unk>':0,"
     "'<0xC3>':1,'<0xA9>':2,'\xE2\x96\x81':3,'h':4,'e':5,'l':6,'o':7,'he':8,"
     "'ll':9,'\xE2\x96\x81he':10,'\xE2\x96\x81hello':11,'llo':12},'merges':['h e','l l',"
     "'\xE2\x96\x81 he','ll o','\xE2\x96\x81he llo']}}",
     {{"hello  hello", "11 3 11"},
      {" hello", "11"}}},
    {"WordPiece",
     "{'version':'1.0','added_tokens':[],'normalizer':{'type':'BertNormalizer',"
     "'clean_text':true,'handle_chinese_chars':true,'strip_accents':null,"
     "'lowercase':true},'pre_tokenizer':{'type':'BertPreTokenizer'},"
     "'post_processor':{'type':'TemplateProcessing','single':[{'SpecialToken':{'id':'[CLS]',"
     "'type_id':0}},{'Sequence':{'id':'A','type_id':0}},{'SpecialToken':{'id':'[SEP]',"
     "'type_id':0}}],'pair':[{'Sequence':{'id':'A','type_id':0}},"
     "{'Sequence':{'id':'B','type_id':1}}],'special_tokens':{'[CLS]':{'id':'[CLS]',"
     "'ids':[1],'tokens':['[CLS]']},'[SEP]':{'id':'[SEP]','ids':[2],"
     "'tokens':['[SEP]']}}},'decoder':null,'model':{'type':'WordPiece',"
     "'unk_token':'[UNK]','continuing_subword_prefix':'##','max_input_chars_per_word':8,"
     "'vocab':{'[UNK]':0,'[CLS]':1,'[SEP]':2,'un':3,'##aff':4,"
     "'##able':5,'!':6,'caf':7,'##e':8,'\xE4\xBD\xA0':9,'able':10,'##\xCC\x81':11,"
     "'Caf':12,'##\xC3\xA9':13}}}",
     {{"Unaffable! CAF\xC3\x89 \xE4\xBD\xA0\xE4\xBD\xA0", "1 0 6 7 8 9 9 2"},
      {"unaffableable un", "1 0 3 2"},
      {"x", "1 0 2"}}},
    {"WordPiece with case",
     "{'version':'1.0','added_tokens':[],'normalizer':{'type':'BertNormalizer',"
     "'clean_text':true,'handle_chinese_chars':true,'strip_accents':null,"
     "'lowercase':false},'pre_tokenizer':{'type':'BertPreTokenizer'},"
     "'post_processor':{'type':'BertProcessing','sep':['[SEP]',"
     "2],'cls':['[CLS]',1]},'decoder':null,'model':{'type':'WordPiece',"
     "'unk_token':'[UNK]','continuing_subword_prefix':'##','max_input_chars_per_word':8,"
     "'vocab':{'[UNK]':0,'[CLS]':1,'[SEP]':2,'un':3,'##aff':4,"
     "'##able':5,'!':6,'caf':7,'##e':8,'\xE4\xBD\xA0':9,'able':10,'##\xCC\x81':11,"
     "'Caf':12,'##\xC3\xA9':13}}}",
     {{"Caf\xC3\xA9 caf\xC3\xA9", "1 12 13 7 13 2"}}},
    {"Unigram",
     "{'version':'1.0','added_tokens':[],'normalizer':null,'pre_tokenizer':{'type':'Metaspace',"
     "'replacement':'\xE2\x96\x81','add_prefix_space':true},'post_processor':null,"
     "'decoder':null,'model':{'type':'Unigram','unk_id':0,'vocab':[['<unk>',"
     "0],['\xE2\x96\x81',-2],['a',-3],['b',-3],['ab',-4],['\xE2\x96\x81" "ab',-5.5],['abc',"
     "-9],['c',-3.5],['\xE2\x96\x81" "a',-4.5],['bc',-4]]}}",
     {{"abc ab", "8 9 5"},
      {"xyab", "1 0 4"},
      {"a bcx", "8 1 9 0"}}},
    {"Unigram, words first",
     "{'version':'1.0','added_tokens':[],'normalizer':{'type':'Sequence',"
     "'normalizers':[{'type':'NFKC'},{'type':'Replace','pattern':{'Regex':' {2,"
     "}'},'content':' '}]},'pre_tokenizer':{'type':'Sequence',"
     "'pretokenizers':[{'type':'WhitespaceSplit'},{'type':'Metaspace',"
     "'replacement':'\xE2\x96\x81','add_prefix_space':true}]},'post_processor':null,"
     "'decoder':null,'model':{'type':'Unigram','unk_id':0,'vocab':[['<unk>',"
     "0],['\xE2\x96\x81',-2],['a',-3],['b',-3],['ab',-4],['\xE2\x96\x81" "ab',-5.5],['abc',"
     "-9],['c',-3.5],['\xE2\x96\x81" "a',-4.5],['bc',-4]]}}",
     {{"ab   abc \n a", "5 8 9 8"},
      {"\xEF\xBD\x81\xEF\xBD\x82", "5"}}},
};
/* clang-format on */

#endif
